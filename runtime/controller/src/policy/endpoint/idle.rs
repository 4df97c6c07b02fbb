//! Replicas without requests: running, frozen, gone. And what wakes the endpoint for each.

use super::{EndpointPolicy, STOP_GRACE};
use crate::policy::{Action, ReplicaKey, State, Time, replica::Replica};

/// What an idle replica comes to next, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    Freeze(Time),
    Stop(Time),
}

impl EndpointPolicy {
    /// Freezes and stops what was idle long enough. One at a time, as each changes how many run.
    pub(super) fn let_rest(&mut self, now: Time, actions: &mut Vec<Action>) {
        let keys: Vec<ReplicaKey> = self.replicas.keys().copied().collect();
        for key in keys {
            let Some(rest) = self.replicas.get(&key).and_then(|replica| self.next_rest(now, replica)) else { continue };
            let Some(replica) = self.replicas.get_mut(&key) else { continue };
            match rest {
                Rest::Stop(at) if at <= now => {
                    replica.state = State::TOLD_TO_STOP;
                    actions.push(Action::Stop { replica: key, grace: STOP_GRACE });
                }
                Rest::Freeze(at) if at <= now => {
                    replica.state = State::Frozen { told: false };
                    actions.push(Action::Freeze { replica: key });
                }
                Rest::Stop(_) | Rest::Freeze(_) => {}
            }
        }
    }

    /// Requests that wait are for those that are not ready too: their idle time begins with the last of them.
    pub(super) fn note_awaited(&mut self, now: Time) {
        if !self.waiters.is_empty() {
            let unready = self.replicas.values_mut().filter(|replica| replica.state.unready().is_some());
            unready.for_each(|replica| replica.last_used = now);
        }
    }

    fn next_rest(&self, now: Time, replica: &Replica) -> Option<Rest> {
        let stop_at = replica.last_used.after(self.settings.zero_after);
        let freeze_at = replica.last_used.after(self.settings.freeze_after).max(replica.freeze_from);
        match replica.state {
            State::Frozen { .. } => Some(Rest::Stop(stop_at)),
            State::Ready if replica.leases == 0 && self.may_rest(now) => {
                // What may rest at last may have idled for long: then it is not frozen first.
                let not_frozen = replica.doubted || stop_at <= freeze_at.max(now);
                Some(if not_frozen { Rest::Stop(stop_at) } else { Rest::Freeze(freeze_at) })
            }
            // Thawed, it would be given a request that it may not take. Awake it may yet come to take some.
            State::Unready { .. } if replica.leases == 0 && self.waiters.is_empty() && self.may_end_unready(now) => {
                Some(Rest::Stop(stop_at))
            }
            _ => None,
        }
    }

    /// As many replicas as must run are never frozen or stopped.
    fn may_rest(&self, now: Time) -> bool {
        self.count(|replica| replica.state == State::Ready) > self.floor(now)
    }

    /// Those that are not ready count as running as well, and go first.
    fn may_end_unready(&self, now: Time) -> bool {
        self.count(|replica| replica.state.runs()) > self.floor(now)
    }

    pub(super) fn replica_wakes(&self, now: Time, replica: &Replica) -> Option<Time> {
        match replica.state {
            State::Creating { since } | State::Loading { since } => Some(since.after(self.settings.start_deadline)),
            State::Draining { until: at } | State::Stopping { again: at } => at,
            _ => self.next_rest(now, replica).map(|rest| match rest {
                Rest::Freeze(at) | Rest::Stop(at) => at,
            }),
        }
    }
}

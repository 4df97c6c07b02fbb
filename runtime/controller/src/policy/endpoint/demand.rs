//! Waiters and leases: who gets a replica, how many replicas that takes, who is turned away.

use std::time::Duration;

use super::{EndpointPolicy, RETRY_AFTER_MIN};
use crate::{
    Place,
    policy::{Action, Refusal, ReplicaKey, State, Time, replica::Replica},
};

impl EndpointPolicy {
    /// Grants to waiters in their order while a replica has room.
    pub(super) fn serve(&mut self, actions: &mut Vec<Action>) {
        while !self.waiters.is_empty() {
            let Some(key) = self.roomiest() else { return };
            let (Some(replica), Some(waiter)) = (self.replicas.get_mut(&key), self.waiters.pop_first()) else { return };
            if let State::Frozen { .. } = replica.state {
                // The kernel queues the request's connection meanwhile, so nobody waits for the answer.
                replica.state = State::Ready;
                replica.thaws_unanswered += 1;
                actions.push(Action::Thaw { replica: key });
            }
            replica.leases += 1;
            actions.push(Action::Grant { waiter, replica: key });
        }
    }

    /// The least loaded replica that runs and has room, else the frozen one used last.
    fn roomiest(&self) -> Option<ReplicaKey> {
        let concurrency = self.settings.concurrency;
        let running = self.replicas.iter().filter(|(_, it)| it.state == State::Ready && it.leases < concurrency);
        let frozen = self.replicas.iter().filter(|(_, it)| matches!(it.state, State::Frozen { .. }));
        running
            .min_by_key(|(_, replica)| replica.leases)
            .or_else(|| frozen.max_by_key(|(_, replica)| replica.last_used))
            .map(|(key, _)| *key)
    }

    /// Starts what the load asks for, counting what starts already.
    pub(super) fn scale(&mut self, now: Time, actions: &mut Vec<Action>) {
        if self.draining {
            return;
        }
        let wanted = self.wanted(now);
        self.take_back_reservations(wanted, actions);
        if self.back_off.holds(now).is_some() {
            return;
        }
        let room = self.settings.max_replicas.saturating_sub(self.count(Replica::lives));
        for _ in 0..wanted.saturating_sub(self.count(Replica::accepts)).min(room) {
            let key = self.new_key();
            self.replicas.insert(key, Replica::new(State::Pending { short: None }, now));
            actions.push(Action::Reserve { replica: key });
        }
        self.thaw_floor(now, actions);
    }

    /// As many replicas as must run, and one for requests that are still on their way.
    pub(super) fn floor(&self, now: Time) -> u32 {
        self.settings.min_replicas.max(u32::from(self.expectations.hold(now)))
    }

    /// Replicas for everyone who waits or holds a lease, within the endpoint's bounds.
    fn wanted(&self, now: Time) -> u32 {
        let leases: u32 = self.replicas.values().filter(|it| it.accepts()).map(|it| it.leases).sum();
        let load = self.waiters.len().saturating_add(leases);
        load.div_ceil(self.settings.concurrency).max(self.floor(now)).min(self.settings.max_replicas)
    }

    /// Memory of replicas that are yet to come and that nobody needs any more goes back.
    fn take_back_reservations(&mut self, wanted: u32, actions: &mut Vec<Action>) {
        let surplus = self.count(Replica::accepts).saturating_sub(wanted);
        let newest_first = self.replicas.iter().rev();
        let keys: Vec<_> =
            newest_first.filter(|(_, it)| it.state.is_to_come()).map(|(key, _)| *key).take(surplus as usize).collect();
        for key in keys {
            self.replicas.remove(&key);
            actions.push(Action::Free { replica: key });
        }
    }

    /// Where replicas that must run died, take no requests, or one is expected to, frozen ones take their places.
    fn thaw_floor(&mut self, now: Time, actions: &mut Vec<Action>) {
        let serves = |replica: &Replica| replica.starts() || replica.state == State::Ready;
        let missing = self.floor(now).saturating_sub(self.count(serves));
        let frozen = self.replicas.iter_mut().filter(|(_, it)| matches!(it.state, State::Frozen { .. }));
        for (key, replica) in frozen.take(missing as usize) {
            replica.state = State::Ready;
            replica.thaws_unanswered += 1;
            actions.push(Action::Thaw { replica: *key });
        }
    }

    /// Answers waiters whose time is up, and gives up requests that were only announced.
    pub(super) fn expire(&mut self, now: Time, actions: &mut Vec<Action>) {
        self.expectations.expire(now);
        while let Some(waiter) = self.waiters.pop_expired(now) {
            actions.push(Action::Refuse { waiter, refusal: self.late() });
        }
    }

    /// What a waiter whose time is up waited for.
    fn late(&self) -> Refusal {
        let any = |is: fn(&State) -> bool| self.replicas.values().any(|it| it.accepts() && is(&it.state));
        let short = self.replicas.values().find_map(|it| match it.state {
            State::Pending { short } => short,
            _ => None,
        });
        let serving = any(|state| matches!(state, State::Ready | State::Frozen { .. }));
        if let Some(cause) = self.replicas.values().find_map(|it| it.state.unready())
            && !serving
        {
            // What starts or waits for memory beside it does so for growth.
            return Refusal::Unready { cause: cause.to_owned() };
        }
        let starting =
            any(|state| matches!(state, State::Awaiting { .. } | State::Creating { .. } | State::Loading { .. }));
        match short {
            Some(short) if !serving && !starting => Refusal::OutOfCapacity { short, retry_after: self.retry_after() },
            _ if serving || self.count(Replica::starts) == 0 => Refusal::Deadline { place: Place::Queue },
            _ => Refusal::Deadline { place: Place::Start },
        }
    }

    /// Turns away whom no replica will come for, and whom the queue does not hold.
    pub(super) fn refuse_the_rest(&mut self, now: Time, actions: &mut Vec<Action>) {
        let retry_after = self.retry_after();
        if self.draining {
            self.refuse_all(&Refusal::Draining { retry_after }, actions);
        }
        if let Some((until, cause)) = self.back_off.holds(now)
            && !self.replicas.values().any(Replica::accepts)
        {
            let retry_after = until.since(now).max(RETRY_AFTER_MIN);
            let refusal = Refusal::BackOff { cause: cause.to_owned(), retry_after };
            self.refuse_all(&refusal, actions);
        }
        while self.waiters.len() > self.settings.queue_waiters_max {
            let Some(waiter) = self.waiters.pop_last() else { return };
            let refusal = Refusal::QueueFull { waiters: self.settings.queue_waiters_max, retry_after };
            actions.push(Action::Refuse { waiter, refusal });
        }
    }

    pub(super) fn refuse_all(&mut self, refusal: &Refusal, actions: &mut Vec<Action>) {
        while let Some(waiter) = self.waiters.pop_first() {
            actions.push(Action::Refuse { waiter, refusal: refusal.clone() });
        }
    }

    /// The last measured start: by then a replica that begins to start now may serve.
    pub(super) fn retry_after(&self) -> Duration {
        self.last_start.max(RETRY_AFTER_MIN)
    }

    pub(super) fn count(&self, is: fn(&Replica) -> bool) -> u32 {
        u32::try_from(self.replicas.values().filter(|replica| is(replica)).count()).unwrap_or(u32::MAX)
    }
}

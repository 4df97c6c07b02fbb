//! What becomes of one replica: from memory through ready to gone, and every way that goes wrong.

use std::time::Duration;

use dormouse_sandbox::messages::ExitCause;
use dormouse_spec::{Bytes, format_duration};

use super::{EndpointPolicy, FREEZE_RETRY, PolicySettings, STOP_GRACE, STOP_RETRY};
use crate::policy::{
    Action, AdoptedState, Note, Refusal, ReplicaKey, State, Time, back_off::BackOff, replica::Replica,
};

const SIGKILL: i32 = 9;

impl EndpointPolicy {
    pub(super) fn memory_granted(&mut self, now: Time, key: ReplicaKey, actions: &mut Vec<Action>) {
        if let Some(replica) = self.replicas.get(&key)
            && matches!(replica.state, State::Pending { .. })
        {
            self.begin(now, key, actions);
        }
    }

    pub(super) fn memory_short(&mut self, key: ReplicaKey, missing: Bytes) {
        if let Some(Replica { state: State::Pending { short }, .. }) = self.replicas.get_mut(&key) {
            *short = Some(missing);
        }
    }

    pub(super) fn created(&mut self, key: ReplicaKey, claimed: bool) {
        if let Some(replica) = self.replicas.get_mut(&key)
            && let State::Creating { since } = replica.state
        {
            replica.claimed = claimed;
            replica.state = State::Loading { since };
        }
    }

    pub(super) fn ready(&mut self, now: Time, key: ReplicaKey, actions: &mut Vec<Action>) {
        if let Some(replica) = self.replicas.get_mut(&key)
            && let State::Creating { since } | State::Loading { since } = replica.state
        {
            replica.state = State::Ready;
            replica.last_used = now;
            self.lost_claim = false;
            self.last_start = now.since(since);
            actions.push(Action::Note(Note::Started { replica: key }));
        }
    }

    pub(super) fn load_failed(&mut self, now: Time, key: ReplicaKey, reason: String, actions: &mut Vec<Action>) {
        if let Some(replica) = self.replicas.get_mut(&key)
            && let State::Creating { .. } | State::Loading { .. } = replica.state
        {
            replica.state = State::TOLD_TO_STOP;
            // It said that it exits; a worker that does not is not waited for.
            actions.push(Action::Stop { replica: key, grace: STOP_GRACE });
            self.not_started(now, key, reason, actions);
        }
    }

    pub(super) fn frozen(&mut self, key: ReplicaKey, actions: &mut Vec<Action>) {
        let Some(replica) = self.replicas.get_mut(&key) else { return };
        match &mut replica.state {
            State::Frozen { told } => *told = true,
            // An answer that a thaw has overtaken is nothing; one that none follows must be undone.
            // One that is adopted may be told so late: it was being frozen when the node process before ended.
            State::Creating { .. }
            | State::Loading { .. }
            | State::Ready
            | State::Unready { .. }
            | State::Draining { .. }
                if replica.thaws_unanswered == 0 =>
            {
                replica.thaws_unanswered += 1;
                actions.push(Action::Thaw { replica: key });
            }
            _ => {}
        }
    }

    pub(super) fn thawed(&mut self, now: Time, key: ReplicaKey, unasked: bool, actions: &mut Vec<Action>) {
        let Some(replica) = self.replicas.get_mut(&key) else { return };
        if !unasked {
            replica.thaws_unanswered = replica.thaws_unanswered.saturating_sub(1);
            return;
        }
        replica.freeze_from = now.after(FREEZE_RETRY);
        if let State::Frozen { .. } = replica.state {
            replica.state = State::Ready;
            actions.push(Action::Note(Note::FreezeFailed { replica: key }));
        }
    }

    /// The spawner could not do what was asked last. That the replica is gone is never told so: its
    /// end was told before.
    pub(super) fn refused(&mut self, now: Time, key: ReplicaKey, reason: String, actions: &mut Vec<Action>) {
        let Some(replica) = self.replicas.get_mut(&key) else { return };
        match replica.state {
            State::Creating { .. } => {
                self.exited(now, key, &ExitCause::NotCreated { reason }, actions);
                self.removed(now, key, actions);
            }
            State::Frozen { .. } => self.thawed(now, key, true, actions),
            State::Stopping { .. } => replica.state = State::Stopping { again: Some(now.after(STOP_RETRY)) },
            // It may stand still for ever with requests on it.
            State::Ready | State::Unready { .. } | State::Draining { .. } if replica.thaws_unanswered > 0 => {
                replica.state = State::TOLD_TO_STOP;
                actions.push(Action::Stop { replica: key, grace: Duration::ZERO });
                actions.push(Action::Note(Note::Crashed { replica: key, cause: reason }));
            }
            _ => {}
        }
    }

    pub(super) fn released(&mut self, now: Time, key: ReplicaKey) {
        if let Some(replica) = self.replicas.get_mut(&key)
            && replica.leases > 0
        {
            replica.leases -= 1;
            replica.last_used = now;
        }
    }

    /// Deaths with no answer between them are one after the other.
    pub(super) fn served(&mut self, key: ReplicaKey) {
        // One that died since is not forgiven by what it answered before.
        let state = self.replicas.get(&key).map(|replica| &replica.state);
        if let Some(State::Ready | State::Unready { .. } | State::Draining { .. }) = state {
            self.deaths_in_service = 0;
        }
    }

    /// As good as dead: it holds its requests until they are given up, and would hold the next ones.
    pub(super) fn silent(&mut self, now: Time, key: ReplicaKey, actions: &mut Vec<Action>) {
        let Some(replica) = self.replicas.get_mut(&key) else { return };
        if let State::Ready | State::Unready { .. } | State::Draining { .. } = replica.state {
            replica.state = State::TOLD_TO_STOP;
            actions.push(Action::Stop { replica: key, grace: Duration::ZERO });
            self.died_in_service(now, key, &ExitCause::Silent, actions);
        }
    }

    /// As it is where a server ends in good order: it finishes what it has, and is told to end after that.
    pub(super) fn deaf(&mut self, now: Time, key: ReplicaKey, actions: &mut Vec<Action>) {
        if self.replicas.get(&key).is_some_and(|replica| replica.state.runs()) {
            self.retire(key, Some(now.after(self.settings.drain_deadline)), actions);
            actions.push(Action::Note(Note::Deaf { replica: key }));
        }
    }

    /// It may have something to put down, and is told to end before it is killed; its requests are over already.
    pub(super) fn unwell(&mut self, now: Time, key: ReplicaKey, cause: String, actions: &mut Vec<Action>) {
        let Some(replica) = self.replicas.get_mut(&key) else { return };
        let runs = replica.state.runs();
        if runs || matches!(replica.state, State::Draining { .. }) {
            replica.state = State::TOLD_TO_STOP;
            actions.push(Action::Stop { replica: key, grace: STOP_GRACE });
            // One that drains is of a revision that nobody starts any more.
            if runs {
                self.count_death(now, &cause);
            }
            actions.push(Action::Note(Note::Crashed { replica: key, cause }));
        }
    }

    pub(super) fn exited(&mut self, now: Time, key: ReplicaKey, cause: &ExitCause, actions: &mut Vec<Action>) {
        let Some(replica) = self.replicas.get_mut(&key) else { return };
        let was = std::mem::replace(&mut replica.state, State::Exited);
        replica.leases = 0;
        match was {
            // Who killed a container of the pool may not have meant this endpoint, whose waiters get
            // another. Once: its own model may be what does not live.
            // It has the same memory to run out of as one that loads for itself.
            State::Creating { .. } | State::Loading { .. }
                if !matches!(cause, ExitCause::Stopped | ExitCause::OutOfMemory { .. })
                    && replica.template.is_some() =>
            {
                self.not_started(now, key, cause.to_string(), actions);
            }
            State::Loading { .. } if replica.claimed && is_killed(cause) && !self.lost_claim => {
                self.lost_claim = true;
                actions.push(Action::Note(Note::ClaimLost { replica: key, cause: cause.to_string() }));
            }
            State::Pending { .. } | State::Awaiting { .. } | State::Creating { .. } | State::Loading { .. } => {
                self.start_failed(now, key, cause.to_string(), actions);
            }
            State::Ready | State::Unready { .. } | State::Frozen { .. } => {
                self.died_in_service(now, key, cause, actions);
            }
            State::Draining { .. } => {
                self.count_against_template(now, key, cause, actions);
                actions.push(Action::Note(Note::Crashed { replica: key, cause: cause.to_string() }));
            }
            State::Stopping { .. } | State::Exited => {}
        }
    }

    /// The next request starts another at once, unless the one before died like this as well. The end of a
    /// template is one death, however many replicas it takes along, and the template's: it holds back templates.
    fn died_in_service(&mut self, now: Time, key: ReplicaKey, cause: &ExitCause, actions: &mut Vec<Action>) {
        if *cause != ExitCause::TemplateEnded {
            self.count_death(now, &cause.to_string());
            self.count_against_template(now, key, cause, actions);
        }
        actions.push(Action::Note(Note::Crashed { replica: key, cause: cause.to_string() }));
    }

    fn count_death(&mut self, now: Time, cause: &str) {
        self.deaths_in_service = self.deaths_in_service.saturating_add(1);
        if self.deaths_in_service > 1 {
            self.back_off.fail(now, cause.to_owned());
        }
    }

    /// Arms the back-off; reservations go back, as what they are for would fail alike.
    pub(super) fn start_failed(&mut self, now: Time, key: ReplicaKey, cause: String, actions: &mut Vec<Action>) {
        self.back_off.fail(now, cause.clone());
        let freed = self.replicas.extract_if(.., |_, replica| replica.state.is_to_come());
        actions.extend(freed.map(|(replica, _)| Action::Free { replica }));
        if !self.replicas.values().any(Replica::accepts) {
            let retry_after = self.back_off.holds(now).map_or(Duration::ZERO, |(until, _)| until.since(now));
            let refusal =
                Refusal::StartFailed { cause: cause.clone(), retry_after: retry_after.max(self.retry_after()) };
            self.refuse_all(&refusal, actions);
        }
        actions.push(Action::Note(Note::StartFailed { replica: key, cause }));
    }

    pub(super) fn removed(&mut self, now: Time, key: ReplicaKey, actions: &mut Vec<Action>) {
        if self.replicas.get(&key).is_some_and(|replica| replica.state != State::Exited) {
            self.exited(now, key, &ExitCause::Stopped, actions);
        }
        if self.replicas.remove(&key).is_some() {
            actions.push(Action::Free { replica: key });
        }
    }

    pub(super) fn adopt(
        &mut self,
        now: Time,
        key: ReplicaKey,
        found: AdoptedState,
        template: Option<ReplicaKey>,
        actions: &mut Vec<Action>,
    ) {
        let state = match found {
            AdoptedState::Loading => State::Loading { since: now },
            AdoptedState::Ready | AdoptedState::Outdated => State::Ready,
            AdoptedState::Frozen => State::Frozen { told: true },
            AdoptedState::Stopping => State::TOLD_TO_STOP,
        };
        let mut replica = Replica::new(state, now);
        replica.current = found != AdoptedState::Outdated;
        replica.template = template;
        self.replicas.insert(key, replica);
        if found == AdoptedState::Outdated {
            self.retire(key, None, actions);
        }
    }

    pub(super) fn new_revision(&mut self, now: Time, settings: PolicySettings, actions: &mut Vec<Action>) {
        let until = now.after(self.settings.drain_deadline);
        self.retire_all(until, actions);
        self.condemn_all(now, actions);
        self.replicas.values_mut().for_each(|replica| replica.current = false);
        self.back_off = BackOff::new(settings.back_off);
        self.templates.back_off = BackOff::new(settings.back_off);
        self.deaths_in_service = 0;
        self.settings = settings;
    }

    pub(super) fn drain(&mut self, now: Time, until: Time, actions: &mut Vec<Action>) {
        self.draining = true;
        self.retire_all(until, actions);
        self.condemn_all(now, actions);
    }

    fn retire_all(&mut self, until: Time, actions: &mut Vec<Action>) {
        let keys: Vec<ReplicaKey> = self.replicas.keys().copied().collect();
        for key in keys {
            self.retire(key, Some(until), actions);
        }
    }

    /// Takes no more requests, and ends: at once where it has none, else with its last lease, at
    /// the latest `until`.
    pub(super) fn retire(&mut self, key: ReplicaKey, until: Option<Time>, actions: &mut Vec<Action>) {
        let Some(replica) = self.replicas.get_mut(&key) else { return };
        match &mut replica.state {
            State::Pending { .. } | State::Awaiting { .. } => {
                self.replicas.remove(&key);
                actions.push(Action::Free { replica: key });
            }
            State::Ready | State::Unready { .. } if replica.leases > 0 => replica.state = State::Draining { until },
            State::Creating { .. }
            | State::Loading { .. }
            | State::Ready
            | State::Unready { .. }
            | State::Frozen { .. } => {
                replica.state = State::TOLD_TO_STOP;
                actions.push(Action::Stop { replica: key, grace: STOP_GRACE });
            }
            State::Draining { until: earlier } => {
                *earlier = match (*earlier, until) {
                    (Some(a), Some(b)) => Some(a.min(b)),
                    (a, b) => a.or(b),
                };
            }
            State::Stopping { .. } | State::Exited => {}
        }
    }

    /// Is of use only until it is ready.
    pub(super) fn seen(&mut self, key: ReplicaKey, what: String) {
        if let Some(replica) = self.replicas.get_mut(&key).filter(|replica| replica.starts()) {
            replica.seen = Some(what);
        }
    }

    /// Stops what is drained, what drained too long, and what did not start in time.
    pub(super) fn end_drained(&mut self, now: Time, actions: &mut Vec<Action>) {
        let mut late = Vec::new();
        for (key, replica) in &mut self.replicas {
            let grace = match replica.state {
                State::Draining { .. } if replica.leases == 0 => STOP_GRACE,
                // What it has is lost in any case, but it may have something to put down.
                State::Draining { until: Some(at) } if at <= now => STOP_GRACE,
                State::Stopping { again: Some(at) } if at <= now => Duration::ZERO,
                State::Creating { since } | State::Loading { since }
                    if since.after(self.settings.start_deadline) <= now =>
                {
                    late.push(*key);
                    Duration::ZERO
                }
                _ => continue,
            };
            replica.state = State::TOLD_TO_STOP;
            actions.push(Action::Stop { replica: *key, grace });
        }
        for key in late {
            let waited = format_duration(self.settings.start_deadline);
            let seen = self.replicas.get_mut(&key).and_then(|replica| replica.seen.take());
            let seen = seen.map_or_else(String::new, |seen| format!(": {seen}"));
            self.not_started(now, key, format!("it was not ready within {waited}{seen}"), actions);
        }
    }
}

/// By somebody else: nothing that a model does ends in this, but for its memory, which is told apart.
fn is_killed(cause: &ExitCause) -> bool {
    *cause == ExitCause::Signal { signal: SIGKILL }
}

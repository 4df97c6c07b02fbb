#![allow(clippy::unwrap_used, clippy::expect_used)]

mod back_off;
mod demand;
mod every_state;
mod expecting;
mod readiness;
mod rest;
mod templates;

use std::time::Duration;

use super::*;
use crate::policy::{Refusal, WaiterId};

pub(super) const SECOND: Duration = Duration::from_secs(1);

pub(super) fn settings() -> PolicySettings {
    PolicySettings {
        min_replicas: 0,
        max_replicas: 2,
        concurrency: 2,
        queue_waiters_max: 10,
        freeze_after: 10 * SECOND,
        zero_after: 300 * SECOND,
        templates: None,
        start_deadline: 60 * SECOND,
        drain_deadline: 30 * SECOND,
        back_off: BackOffSettings { first: SECOND, max: 60 * SECOND, reset: 600 * SECOND },
    }
}

/// A model that was prepared.
pub(super) fn prepared(of: u8) -> dormouse_spec::Digest {
    dormouse_spec::Digest::from_sha256([of; 32])
}

/// A policy and its clock, told what happens in a few words.
pub(super) struct Case {
    pub(super) policy: EndpointPolicy,
    pub(super) now: Time,
    waiters: u64,
}

impl Case {
    pub(super) fn new(settings: PolicySettings) -> Self {
        Self { policy: EndpointPolicy::new(settings), now: Time::default(), waiters: 0 }
    }

    pub(super) fn step(&mut self, event: Event) -> Vec<Action> {
        self.policy.step(self.now, event)
    }

    pub(super) fn pass(&mut self, time: Duration) -> Vec<Action> {
        self.now = self.now.after(time);
        self.step(Event::Tick)
    }

    /// A request with a deadline in 100 s.
    pub(super) fn acquire(&mut self) -> Vec<Action> {
        self.waiters += 1;
        self.step(Event::Acquire { waiter: WaiterId(self.waiters), deadline: self.now.after(100 * SECOND) })
    }

    /// One replica that began with a request and is ready.
    pub(super) fn serving(settings: PolicySettings) -> (Self, ReplicaKey) {
        let mut case = Self::new(settings);
        let replica = reserved(&case.acquire())[0];
        case.start(replica);
        (case, replica)
    }

    pub(super) fn start(&mut self, replica: ReplicaKey) -> Vec<Action> {
        self.step(Event::MemoryGranted { replica });
        self.step(Event::Created { replica, claimed: false });
        self.step(Event::Ready { replica })
    }

    pub(super) fn die(&mut self, replica: ReplicaKey) -> Vec<Action> {
        let cause = dormouse_sandbox::messages::ExitCause::Signal { signal: 11 };
        let mut actions = self.step(Event::Exited { replica, cause });
        actions.extend(self.step(Event::Removed { replica }));
        actions
    }
}

pub(super) fn reserved(actions: &[Action]) -> Vec<ReplicaKey> {
    let reserved = |action: &Action| match action {
        Action::Reserve { replica } => Some(*replica),
        _ => None,
    };
    actions.iter().filter_map(reserved).collect()
}

pub(super) fn granted(actions: &[Action]) -> Vec<(u64, ReplicaKey)> {
    let granted = |action: &Action| match action {
        Action::Grant { waiter, replica } => Some((waiter.0, *replica)),
        _ => None,
    };
    actions.iter().filter_map(granted).collect()
}

pub(super) fn refused(actions: &[Action]) -> Vec<(u64, Refusal)> {
    let refused = |action: &Action| match action {
        Action::Refuse { waiter, refusal } => Some((waiter.0, refusal.clone())),
        _ => None,
    };
    actions.iter().filter_map(refused).collect()
}

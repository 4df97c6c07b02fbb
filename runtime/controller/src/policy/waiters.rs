use std::collections::{BTreeMap, BTreeSet};

use super::{Time, WaiterId};

/// Who waits, first come first served, and whose time runs out next.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    deadlines: BTreeMap<WaiterId, Time>,
    by_deadline: BTreeSet<(Time, WaiterId)>,
}

impl Waiters {
    pub(super) fn push(&mut self, waiter: WaiterId, deadline: Time) {
        self.deadlines.insert(waiter, deadline);
        self.by_deadline.insert((deadline, waiter));
    }

    /// Whether the waiter was still there.
    pub(super) fn remove(&mut self, waiter: WaiterId) -> bool {
        match self.deadlines.remove(&waiter) {
            Some(deadline) => self.by_deadline.remove(&(deadline, waiter)),
            None => false,
        }
    }

    pub(super) fn pop_first(&mut self) -> Option<WaiterId> {
        let (waiter, deadline) = self.deadlines.pop_first()?;
        self.by_deadline.remove(&(deadline, waiter));
        Some(waiter)
    }

    pub(super) fn pop_last(&mut self) -> Option<WaiterId> {
        let (waiter, deadline) = self.deadlines.pop_last()?;
        self.by_deadline.remove(&(deadline, waiter));
        Some(waiter)
    }

    /// One whose deadline has come.
    pub(super) fn pop_expired(&mut self, now: Time) -> Option<WaiterId> {
        let (_, waiter) = self.by_deadline.first().copied().filter(|(deadline, _)| *deadline <= now)?;
        self.remove(waiter).then_some(waiter)
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.by_deadline.first().map(|(deadline, _)| *deadline)
    }

    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.deadlines.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.deadlines.is_empty()
    }
}

//! When to make what nobody waits for yet: blanks, and what templates fork next. A wake needs the processors
//! until its answer, of which nothing is told here; so everything of this kind comes a while after it.

use std::time::{Duration, Instant};

use super::Loop;

/// From the last replica that became ready. Most first answers are given by then.
const AFTER_A_START: Duration = Duration::from_millis(100);
/// From the last time that something could not be made ahead.
const AFTER_A_FAILURE: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Ahead {
    not_before: Option<Instant>,
}

impl Ahead {
    /// A replica became ready.
    pub(super) fn started(&mut self, now: Instant) {
        self.put_off(now + AFTER_A_START);
    }

    /// Something could not be made.
    pub(super) fn failed(&mut self, now: Instant) {
        self.put_off(now + AFTER_A_FAILURE);
    }

    fn put_off(&mut self, until: Instant) {
        self.not_before = self.not_before.max(Some(until));
    }

    fn from(&self, now: Instant) -> Instant {
        self.not_before.map_or(now, |at| now.max(at))
    }
}

impl Loop<'_> {
    /// From when on wakes are in nobody's way. None while a replica is on its way.
    pub(super) fn calm_from(&self, now: Instant) -> Option<Instant> {
        let starts = self.replicas.values().any(|replica| replica.sandbox.starts());
        (!starts).then(|| self.ahead.from(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_and_a_failure_put_off_what_is_made_ahead() {
        let (mut ahead, now) = (Ahead::default(), Instant::now());
        assert_eq!(ahead.from(now), now);
        ahead.started(now);
        assert_eq!(ahead.from(now), now + AFTER_A_START);
        ahead.failed(now);
        ahead.started(now);
        assert_eq!(ahead.from(now), now + AFTER_A_FAILURE, "the later one holds");
        let later = now + 2 * AFTER_A_FAILURE;
        assert_eq!(ahead.from(later), later);
    }
}

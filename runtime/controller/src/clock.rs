use std::time::Duration;

use tokio::time::Instant;

use crate::policy::Time;

/// Turns the runtime's clock into the policy's times and back. A copy shares its origin.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { origin: Instant::now() }
    }

    pub(crate) fn now(self) -> Time {
        Time::from_millis(u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// When it is `time`, or later by less than a millisecond.
    pub(crate) fn instant(self, time: Time) -> Instant {
        /// A sleep of a year is as good as none; and instants do not overflow.
        const SLEEP_MAX: Duration = Duration::from_secs(366 * 24 * 3600);
        let after = Duration::from_millis(time.millis());
        self.origin.checked_add(after).unwrap_or_else(|| Instant::now() + SLEEP_MAX)
    }

    /// A deadline, never early.
    pub(crate) fn time(self, instant: std::time::Instant) -> Time {
        let instant = Instant::from_std(instant);
        Time::default().after(instant.saturating_duration_since(self.origin))
    }
}

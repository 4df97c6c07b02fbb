use std::time::Duration;

/// A point in time, in milliseconds since some start that only the caller knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Time(u64);

impl Time {
    pub(crate) const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    pub(crate) const fn millis(self) -> u64 {
        self.0
    }

    /// `duration` later, rounded up: a deadline is never early.
    #[must_use]
    pub(crate) fn after(self, duration: Duration) -> Self {
        let millis = u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(millis))
    }

    /// How long ago `earlier` was; zero where it is yet to come.
    #[must_use]
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

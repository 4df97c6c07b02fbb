use std::time::Duration;

use super::Time;

/// How long starts wait after a failure: the first delay, doubled by each further failure up to
/// the longest, from the beginning again after a time without failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BackOffSettings {
    pub(crate) first: Duration,
    pub(crate) max: Duration,
    pub(crate) reset: Duration,
}

#[derive(Debug)]
pub(super) struct BackOff {
    settings: BackOffSettings,
    failed: Option<Failed>,
}

#[derive(Debug)]
struct Failed {
    at: Time,
    until: Time,
    delay: Duration,
    cause: String,
}

impl BackOff {
    pub(super) fn new(settings: BackOffSettings) -> Self {
        Self { settings, failed: None }
    }

    pub(super) fn fail(&mut self, now: Time, cause: String) {
        let delay = match &self.failed {
            Some(last) if now.since(last.at) < self.settings.reset => {
                last.delay.saturating_mul(2).min(self.settings.max)
            }
            _ => self.settings.first,
        };
        self.failed = Some(Failed { at: now, until: now.after(delay), delay, cause });
    }

    /// The time before which nothing starts, and why; none where starts are allowed.
    pub(super) fn holds(&self, now: Time) -> Option<(Time, &str)> {
        self.failed.as_ref().filter(|failed| failed.until > now).map(|failed| (failed.until, failed.cause.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: BackOffSettings = BackOffSettings {
        first: Duration::from_secs(1),
        max: Duration::from_secs(60),
        reset: Duration::from_secs(600),
    };

    fn delay_of(back_off: &mut BackOff, now: Time) -> Duration {
        back_off.fail(now, "it broke".to_owned());
        back_off.holds(now).map_or(Duration::ZERO, |(until, _)| until.since(now))
    }

    #[test]
    fn delays_double_to_the_longest_and_begin_again_after_peace() {
        let mut back_off = BackOff::new(SETTINGS);
        let mut now = Time::default();
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(delay_of(&mut back_off, now), Duration::from_secs(seconds));
            now = now.after(Duration::from_secs(seconds));
            assert!(back_off.holds(now).is_none());
        }
        assert_eq!(delay_of(&mut back_off, now.after(SETTINGS.reset)), Duration::from_secs(1));
    }
}

//! When a line was read, as Kubernetes' CRI writes it down: RFC 3339 with nanoseconds, UTC. All have the same length,
//! so that the earlier of two is also the lesser text.

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// `2026-01-02T03:04:05.000000006Z`
const STAMP_BYTES: usize = 30;
const SECONDS_OF_DAY: u64 = 24 * 3600;
/// The last moment that four digits of a year hold.
const SECONDS_MAX: u64 = 253_402_300_799;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stamp(String);

impl Stamp {
    pub(super) fn now() -> Self {
        Self::at(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
    }

    /// So long ago.
    pub(super) fn ago(time: Duration) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::at(now.saturating_sub(time))
    }

    /// After 1970 began.
    fn at(since_1970: Duration) -> Self {
        let seconds = since_1970.as_secs().min(SECONDS_MAX);
        let (year, month, day) = date(seconds / SECONDS_OF_DAY);
        let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        let nanos = since_1970.subsec_nanos();
        Self(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z"))
    }

    /// Divides a line of a file into its time and what was printed. None where it has no time, as in files of
    /// versions before there were any.
    pub(super) fn divide(line: &str) -> Option<(&str, &str)> {
        let (stamp, text) = line.split_at_checked(STAMP_BYTES)?;
        let is_stamp = stamp.bytes().zip(b"0000-00-00T00:00:00.000000000Z").all(|(byte, form)| match form {
            b'0' => byte.is_ascii_digit(),
            _ => byte == *form,
        });
        is_stamp.then_some(())?;
        Some((stamp, text.strip_prefix(' ')?))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Year, month and day of so many days after 1 January 1970, in the calendar of today. Years begin in March here, so
/// that the day that only some of them have is the last of one.
fn date(days: u64) -> (u64, u64, u64) {
    const DAYS_OF_400_YEARS: u64 = 146_097;
    // From 1 March of the year 0.
    let days = days + 719_468;
    let (era, day_of_era) = (days / DAYS_OF_400_YEARS, days % DAYS_OF_400_YEARS);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_as_everybody_does() {
        for (seconds, nanos, expected) in [
            (0, 0, "1970-01-01T00:00:00.000000000Z"),
            (951_782_399, 1, "2000-02-28T23:59:59.000000001Z"),
            (951_782_400, 0, "2000-02-29T00:00:00.000000000Z"),
            (951_868_800, 0, "2000-03-01T00:00:00.000000000Z"),
            (1_735_689_599, 999_999_999, "2024-12-31T23:59:59.999999999Z"),
            (4_107_542_400, 0, "2100-03-01T00:00:00.000000000Z"),
            (u64::MAX, 0, "9999-12-31T23:59:59.000000000Z"),
        ] {
            assert_eq!(Stamp::at(Duration::new(seconds, nanos)).as_str(), expected);
        }
    }

    #[test]
    fn a_line_of_a_file_has_a_time_and_a_text_or_is_older_than_times() {
        let stamp = "2000-02-29T00:00:00.000000000Z";
        assert_eq!(Stamp::divide(&format!("{stamp} a b")), Some((stamp, "a b")));
        assert_eq!(Stamp::divide(&format!("{stamp} ")), Some((stamp, "")));
        for old in ["", "a line", stamp, "2000-02-29 00:00:00.000000000Z a", "ä000-02-29T00:00:00.000000000 a"] {
            assert_eq!(Stamp::divide(old), None, "{old}");
        }
    }

    #[test]
    fn the_earlier_is_the_lesser() {
        assert!(Stamp::at(Duration::new(99, 0)) < Stamp::at(Duration::new(99, 1)));
        assert!(Stamp::ago(Duration::from_secs(1)) < Stamp::now());
    }
}

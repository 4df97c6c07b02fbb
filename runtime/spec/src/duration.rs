use std::time::Duration;

/// Why a text is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a duration: write `500ms`, `10s`, `5m`, `1h` or a sum such as `1m30s`")]
pub struct DurationError(String);

/// A year: longer waits are mistakes, and sums of durations stay far from overflow.
const DURATION_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// Reads a duration as Kubernetes and Go write it: `500ms`, `10s`, `1m30s`, `0s`.
///
/// # Errors
/// [`DurationError`] where the text has no unit, another unit, or more than a year.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    parse(text).filter(|duration| *duration <= DURATION_MAX).ok_or_else(|| DurationError(text.to_owned()))
}

fn parse(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut sum_ms: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, tail) = rest.split_at(digits);
        let (unit_ms, tail) = unit(tail)?;
        sum_ms = sum_ms.checked_add(number.parse::<u64>().ok()?.checked_mul(unit_ms)?)?;
        rest = tail;
    }
    (!text.is_empty()).then(|| Duration::from_millis(sum_ms))
}

/// The unit a text begins with, in milliseconds, and what follows. `ms` comes before `m`.
fn unit(text: &str) -> Option<(u64, &str)> {
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)]
        .into_iter()
        .find_map(|(suffix, unit_ms)| Some((unit_ms, text.strip_prefix(suffix)?)))
}

/// Writes a duration so that [`parse_duration`] reads it back, to the millisecond.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let total_ms = duration.as_millis();
    let (hours, minutes) = (total_ms / 3_600_000, total_ms / 60_000 % 60);
    let (seconds, millis) = (total_ms / 1_000 % 60, total_ms % 1_000);
    let text: String = [(hours, "h"), (minutes, "m"), (seconds, "s"), (millis, "ms")]
        .into_iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, unit)| format!("{number}{unit}"))
        .collect();
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// For `#[serde(with = "…")]` on fields that hold a [`Duration`].
pub(crate) mod text {
    use super::{Duration, format_duration, parse_duration};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format_duration(*duration))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        parse_duration(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn durations_read_back_what_they_print() {
        for text in ["0s", "500ms", "10s", "1m30s", "5m", "1h", "2h3m4s5ms"] {
            assert_eq!(format_duration(parse_duration(text).unwrap()), text);
        }
    }

    #[test]
    fn a_bare_number_or_another_unit_is_refused() {
        for text in ["", "10", "-1s", "1d", "s", "1.5s", "99999999999h", "1m30"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}

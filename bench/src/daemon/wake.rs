//! What the daemon itself tells of a wake, by `dormouse why`.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::Daemon;
use crate::Failure;

/// A wake is written down when its answer has ended, which its caller may see a little earlier.
const WRITTEN_WITHIN: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// The daemon rounds how long ago a wake began to milliseconds.
const ROUNDING: Duration = Duration::from_millis(1);

/// The last wake of an endpoint.
#[derive(Debug, PartialEq)]
pub(crate) struct Wake {
    /// Where it came from: `created`, `claimed`, `forked` or `frozen`.
    pub(crate) rung: String,
    /// The spawner's own part, in milliseconds: a claim, or a creation.
    pub(crate) spawner_ms: Option<f64>,
    /// When it began, before now.
    ago: Duration,
}

impl Daemon {
    /// The wake that a request made which was sent at `asked`.
    pub(crate) fn wake_since(&self, endpoint: &str, asked: Instant) -> Result<Wake, Failure> {
        let deadline = Instant::now() + WRITTEN_WITHIN;
        loop {
            let told = self.cli(&["why", endpoint, "--json", "-n", "1"])?;
            if let Some(wake) = Wake::parse(&serde_json::from_str(&told)?)?
                && wake.ago <= asked.elapsed() + ROUNDING
            {
                return Ok(wake);
            }
            if Instant::now() > deadline {
                return Err(format!("`dormouse why {endpoint}` does not tell of the last wake: {told}").into());
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

impl Wake {
    /// The newest of a list, which may be empty.
    fn parse(told: &Value) -> Result<Option<Self>, Failure> {
        let Some(wake) = told.as_array().ok_or("`dormouse why` tells no list")?.first() else { return Ok(None) };
        let missing = |what: &str| format!("`dormouse why` tells no {what}: {wake}");
        Ok(Some(Self {
            rung: wake["rung"].as_str().ok_or_else(|| missing("rung"))?.to_owned(),
            spawner_ms: spawner_us(wake).map(|micros| micros as f64 / 1e3),
            ago: Duration::from_millis(wake["ago_ms"].as_u64().ok_or_else(|| missing("age"))?),
        }))
    }
}

/// As the spawner counted it, in parts. What the node sees of it has two messages besides.
fn spawner_us(wake: &Value) -> Option<u64> {
    let parts = wake["origin"].as_object()?.values().find_map(Value::as_object)?;
    Some(parts.iter().filter(|(name, _)| name.ends_with("_us")).filter_map(|(_, micros)| micros.as_u64()).sum())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_wake_tells_its_rung_and_the_spawners_part() {
        let told = json!([{
            "rung": "claimed", "ago_ms": 12, "phases": [{ "phase": "claim", "us": 900 }],
            "origin": { "claimed": { "blank": 3, "claim_us": 250 } },
        }]);
        let wake = Wake { rung: "claimed".to_owned(), spawner_ms: Some(0.25), ago: Duration::from_millis(12) };
        assert_eq!(Wake::parse(&told).ok().flatten(), Some(wake));
    }

    #[test]
    fn a_thaw_is_no_part_of_the_spawners_creations() {
        let told = json!([{ "rung": "frozen", "ago_ms": 1, "phases": [], "origin": null }]);
        assert!(Wake::parse(&told).is_ok_and(|wake| wake.is_some_and(|wake| wake.spawner_ms.is_none())));
    }

    #[test]
    fn no_wake_yet_and_no_answer_are_told_apart() {
        assert!(matches!(Wake::parse(&json!([])), Ok(None)));
        assert!(Wake::parse(&json!({ "error": "no" })).is_err());
        assert!(Wake::parse(&json!([{ "ago_ms": 1 }])).is_err());
    }
}

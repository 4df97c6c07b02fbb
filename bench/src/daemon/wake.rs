//! What the daemon itself tells of a wake, by `dormouse why`.

use serde_json::Value;

use super::Daemon;
use crate::Failure;

/// The last wake of an endpoint.
#[derive(Debug, PartialEq)]
pub(crate) struct Wake {
    /// Where it came from: `created`, `claimed`, `frozen` or `template`.
    pub(crate) rung: String,
    /// The spawner's part of it, in milliseconds: the claim of a blank worker, or the creation of a container.
    pub(crate) spawner_ms: Option<f64>,
}

impl Daemon {
    pub(crate) fn last_wake(&self, endpoint: &str) -> Result<Wake, Failure> {
        let told = self.cli(&["why", endpoint, "--json", "-n", "1"])?;
        Wake::parse(&serde_json::from_str(&told)?)
    }
}

impl Wake {
    fn parse(told: &Value) -> Result<Self, Failure> {
        let wake = &told["wakes"][0];
        let rung = wake["rung"].as_str().ok_or_else(|| format!("`dormouse why` tells no rung: {told}"))?;
        let micros = |phase: &str| wake["phases"][phase].as_f64();
        let spawner_ms = micros("claim_us").or_else(|| micros("create_us")).map(|micros| micros / 1e3);
        Ok(Self { rung: rung.to_owned(), spawner_ms })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_wake_tells_its_rung_and_claim() {
        let told = json!({ "wakes": [{ "rung": "claimed", "phases": { "claim_us": 250 } }] });
        let wake = Wake::parse(&told).ok();
        assert_eq!(wake, Some(Wake { rung: "claimed".to_owned(), spawner_ms: Some(0.25) }));
        assert!(Wake::parse(&json!({ "wakes": [] })).is_err());
    }
}

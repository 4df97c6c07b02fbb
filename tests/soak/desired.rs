//! What may be deployed, by what operators were told.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::operator::Outcome;

/// The revision of an endpoint that is not there.
const NONE: u64 = 0;

/// The revisions that an endpoint may have. Of one that was never deployed nothing is known but that.
#[derive(Debug, Clone)]
pub(crate) struct Desired(BTreeSet<u64>);

impl Default for Desired {
    fn default() -> Self {
        Self(BTreeSet::from([NONE]))
    }
}

impl Desired {
    /// # Errors
    /// Where the daemon told something that cannot be.
    pub(crate) fn deployed(&mut self, outcome: &Outcome) -> Result<(), String> {
        let next: BTreeSet<u64> = self.0.iter().map(|revision| revision + 1).collect();
        match outcome {
            Outcome::Acknowledged { revision } if next.contains(revision) => self.0 = BTreeSet::from([*revision]),
            Outcome::Acknowledged { revision } => {
                return Err(format!("revision {revision} was deployed, where one of {next:?} was to come"));
            }
            Outcome::Unknown => self.0.extend(next),
            Outcome::Refused { .. } | Outcome::NotTaken => {}
        }
        Ok(())
    }

    /// # Errors
    /// As [`Self::deployed`].
    pub(crate) fn deleted(&mut self, outcome: &Outcome) -> Result<(), String> {
        match outcome {
            Outcome::Acknowledged { .. } => self.0 = BTreeSet::from([NONE]),
            Outcome::Refused { reason } if reason.contains("there is no endpoint named") => {
                if !self.0.remove(&NONE) {
                    return Err(format!("it is not there, and was to be revision {:?}", self.0));
                }
                self.0 = BTreeSet::from([NONE]);
            }
            // Desired state goes first, so it may be gone although something else went wrong.
            Outcome::Unknown | Outcome::Refused { .. } => drop(self.0.insert(NONE)),
            Outcome::NotTaken => {}
        }
        Ok(())
    }

    fn allows(&self, revision: u64) -> bool {
        self.0.contains(&revision)
    }
}

/// Compares what operators were told with the daemon's own list; each line is a difference.
pub(crate) fn compare(expected: &BTreeMap<String, Desired>, listed: &Value) -> Vec<String> {
    let entries = listed.as_array().expect("a list of endpoints").iter();
    let there: BTreeMap<&str, u64> = entries
        .map(|entry| (entry["endpoint"]["name"].as_str().expect("a name"), entry["revision"].as_u64().unwrap_or(NONE)))
        .collect();
    let unknown = there.keys().filter(|name| !expected.contains_key(**name)).map(|name| format!("{name} is there"));
    let differs = expected.iter().filter_map(|(name, desired)| {
        let revision = there.get(name.as_str()).copied().unwrap_or(NONE);
        (!desired.allows(revision))
            .then(|| format!("{name} has revision {revision}, by its operator one of {:?}", desired.0))
    });
    unknown.chain(differs).collect()
}

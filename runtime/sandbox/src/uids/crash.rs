//! The record with the kernel failing it, or killing its writer, at every file operation.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, error::Error, path::Path};

use dormouse_faults::{End, Experiment, at_every_call};

use super::*;

const RANGE: UidRange = UidRange { base: 1_879_048_192, count: 4 };

fn name(text: &str) -> EndpointName {
    text.parse().unwrap()
}

fn opened(place: &Path) -> UidRecord {
    UidRecord::open(&place.join("uids.json"), RANGE)
}

fn recorded(place: &Path) -> BTreeMap<EndpointName, u32> {
    let record = opened(place);
    let names: Vec<_> = fs::read_dir(place).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["uids.json"], "nothing else stays");
    record.record.endpoints
}

/// One endpoint comes and another one goes.
struct Change;

impl Experiment for Change {
    fn prepare(&self, place: &Path) {
        let mut record = opened(place);
        record.assign(&name("kept"), |_| true).unwrap();
        record.assign(&name("going"), |_| true).unwrap();
    }

    fn act(&self, place: &Path) -> Result<(), Box<dyn Error>> {
        let mut record = opened(place);
        record.assign(&name("coming"), |_| true)?;
        record.release(&[name("going")]);
        let uids: std::collections::BTreeSet<u32> = record.record.endpoints.values().copied().collect();
        assert_eq!(uids.len(), record.record.endpoints.len(), "two have one uid");
        assert!(record.record.endpoints.contains_key(&name("coming")), "a disk that fails stops nobody");
        Ok(())
    }

    fn check(&self, place: &Path, end: End) {
        let found = recorded(place);
        let names: Vec<&str> = found.keys().map(EndpointName::as_str).collect();
        let states: [&[&str]; 3] = [&["going", "kept"], &["coming", "going", "kept"], &["coming", "kept"]];
        // Where the record could not be read, a new one was begun.
        let is_anew = end == End::Done && (names.is_empty() || names == ["coming"]);
        assert!(is_anew || states.contains(&names.as_slice()), "{names:?}");
        let uids: std::collections::BTreeSet<u32> = found.values().copied().collect();
        assert_eq!(uids.len(), found.len(), "two have one uid");
    }
}

#[test]
fn the_record_is_always_one_that_was_written() {
    at_every_call("uids::crash::the_record_is_always_one_that_was_written", &Change);
}

//! The store with the kernel failing it, or killing it, at every file operation.
#![allow(clippy::unwrap_used)]

use std::{error::Error, fs, path::Path};

use dormouse_faults::{Call, End, Experiment, at_every_call};
use dormouse_spec::{Bytes, Digest, EndpointName, EndpointRequest};
use tokio::runtime::{Builder, Runtime};

use super::{Desired, DesiredContent, DesiredModel, Loaded, Store, StoreError};

fn runtime() -> Runtime {
    Builder::new_current_thread().build().unwrap()
}

fn opened(place: &Path) -> Store {
    runtime().block_on(Store::open(place)).unwrap()
}

fn name(text: &str) -> EndpointName {
    text.parse().unwrap()
}

fn desired(endpoint: &str, revision: u32) -> Desired {
    let request = EndpointRequest::named(name(endpoint));
    let model = DesiredModel {
        model: Digest::from_sha256([7; 32]),
        bytes: Bytes::from_mebibytes(2),
        metadata: serde_json::json!({"name": endpoint, "inputs": []}).into(),
        preparation: None,
        sample: None,
    };
    Desired { request, revision, content: DesiredContent::Model(Box::new(model)) }
}

fn write(place: &Path, desired: &Desired) -> Result<(), StoreError> {
    let store = opened(place);
    runtime().block_on(store.write(desired))
}

/// What the next start finds, and that it finds nothing else in the directory.
fn found(place: &Path) -> Vec<Desired> {
    let store = opened(place);
    let loaded: Vec<Loaded> = runtime().block_on(store.load()).unwrap();
    let found: Vec<Desired> = loaded.into_iter().map(|(_, desired)| desired.unwrap()).collect();
    assert_eq!(fs::read_dir(place.join("endpoints")).unwrap().count(), found.len(), "something stays for ever");
    found
}

/// Calls by name, with the file's ending: enough to see an order.
fn order(calls: &[Call]) -> Vec<String> {
    let changes = calls.iter().filter(|call| call.name.contains("sync") || call.name.contains("rename"));
    let last = |path: &Path| path.file_name().unwrap_or_default().to_str().unwrap().to_owned();
    changes.map(|call| format!("{} {}", call.name.trim_end_matches(char::is_numeric), last(&call.path))).collect()
}

/// A deploy's commit: over an earlier revision or over nothing, beside another endpoint.
struct Write {
    over: Option<u32>,
}

impl Experiment for Write {
    fn prepare(&self, place: &Path) {
        write(place, &desired("beside", 1)).unwrap();
        if let Some(revision) = self.over {
            write(place, &desired("it", revision)).unwrap();
        }
    }

    fn act(&self, place: &Path) -> Result<(), Box<dyn Error>> {
        // Opened already where a deploy commits; here it is one more thing that can fail.
        let runtime = runtime();
        let store = runtime.block_on(Store::open(place))?;
        Ok(runtime.block_on(store.write(&desired("it", 7)))?)
    }

    fn check(&self, place: &Path, end: End) {
        let with = |it: Option<u32>| -> Vec<Desired> {
            [Some(desired("beside", 1)), it.map(|revision| desired("it", revision))].into_iter().flatten().collect()
        };
        let (old, new, found) = (with(self.over), with(Some(7)), found(place));
        match end {
            End::Done => assert_eq!(found, new),
            End::Failed => assert_eq!(found, old),
            End::Killed => assert!(found == old || found == new, "{found:?}"),
        }
    }
}

#[test]
fn a_redeploy_is_the_old_or_the_new() {
    let calls = at_every_call("store::crash::a_redeploy_is_the_old_or_the_new", &Write { over: Some(3) });
    assert_eq!(order(&calls), ["fsync it.json.new", "rename it.json.new", "fsync endpoints"]);
}

#[test]
fn a_first_deploy_is_nothing_or_all() {
    let calls = at_every_call("store::crash::a_first_deploy_is_nothing_or_all", &Write { over: None });
    assert_eq!(order(&calls), ["fsync it.json.new", "rename it.json.new", "fsync endpoints"]);
}

struct Remove;

impl Experiment for Remove {
    fn prepare(&self, place: &Path) {
        write(place, &desired("beside", 1)).unwrap();
        write(place, &desired("it", 3)).unwrap();
    }

    fn act(&self, place: &Path) -> Result<(), Box<dyn Error>> {
        let runtime = runtime();
        let store = runtime.block_on(Store::open(place))?;
        Ok(runtime.block_on(store.remove(&name("it")))?)
    }

    fn check(&self, place: &Path, end: End) {
        let (there, gone) = (vec![desired("beside", 1), desired("it", 3)], vec![desired("beside", 1)]);
        let found = found(place);
        match end {
            End::Done => assert_eq!(found, gone),
            End::Failed => assert_eq!(found, there),
            End::Killed => assert!(found == there || found == gone, "{found:?}"),
        }
    }
}

#[test]
fn a_removal_is_there_or_gone() {
    let calls = at_every_call("store::crash::a_removal_is_there_or_gone", &Remove);
    assert_eq!(order(&calls), ["rename it.json", "fsync endpoints"]);
    assert_eq!(calls.last().unwrap().path, Path::new("endpoints/it.json.old"), "deleted when that is durable");
}

/// A start that finds what interrupted work left, and reads what is deployed.
struct Start;

impl Experiment for Start {
    fn prepare(&self, place: &Path) {
        write(place, &desired("it", 3)).unwrap();
        for leftover in ["it.json.new", "other.json.old"] {
            fs::write(place.join("endpoints").join(leftover), "{").unwrap();
        }
    }

    fn act(&self, place: &Path) -> Result<(), Box<dyn Error>> {
        let runtime = runtime();
        let store = runtime.block_on(Store::open(place))?;
        for (_, desired) in runtime.block_on(store.load())? {
            desired?;
        }
        assert_eq!(runtime.block_on(store.digests())?.len(), 1);
        Ok(())
    }

    fn check(&self, place: &Path, _: End) {
        assert_eq!(found(place), [desired("it", 3)]);
    }
}

#[test]
fn a_start_loses_nothing_and_cleans_up() {
    at_every_call("store::crash::a_start_loses_nothing_and_cleans_up", &Start);
}

/// The very first start: the directory has to outlive a power cut as what is written into it.
struct FirstStart;

impl Experiment for FirstStart {
    fn prepare(&self, _: &Path) {}

    fn act(&self, place: &Path) -> Result<(), Box<dyn Error>> {
        Ok(runtime().block_on(Store::open(place)).map(drop)?)
    }

    fn check(&self, place: &Path, _: End) {
        assert!(found(place).is_empty());
    }
}

#[test]
fn a_new_directory_is_durable() {
    let calls = at_every_call("store::crash::a_new_directory_is_durable", &FirstStart);
    let made = calls.iter().position(|call| call.name.starts_with("mkdir")).unwrap();
    assert!(calls[made..].iter().any(|call| call.name == "fsync" && call.path == Path::new("")), "{calls:?}");
}

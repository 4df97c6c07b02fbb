//! The store with the kernel failing it, or killing it, at every file operation.
#![allow(clippy::unwrap_used)]

use std::{
    collections::HashSet,
    error::Error,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use dormouse_faults::{Call, End, Experiment, at_every_call};
use tokio::runtime::{Builder, Runtime};

use super::*;
use crate::{MODEL_FILE, ModelFile};

const GRAPH: &[u8] = b"graph";
const WEIGHTS: &[u8] = &[7; 100_000];

fn runtime() -> Runtime {
    Builder::new_current_thread().build().unwrap()
}

fn opened(place: &Path) -> Result<ModelStore, StoreError> {
    ModelStore::open(place, StoreLimits { free_bytes_min: Bytes::new(0), ..StoreLimits::default() })
}

fn file(path: &str, content: &[u8]) -> ModelFile {
    let mut source = tempfile::tempfile().unwrap();
    source.write_all(content).unwrap();
    ModelFile { path: path.parse().unwrap(), file: source.into() }
}

fn model() -> Vec<ModelFile> {
    vec![file(MODEL_FILE, GRAPH), file("weights/w.bin", WEIGHTS)]
}

fn add(place: &Path, files: Vec<ModelFile>) -> Result<Digest, StoreError> {
    let store = opened(place)?;
    runtime().block_on(store.add(files, |_, _| {})).map(|stored| stored.digest)
}

fn beside(place: &Path) -> Digest {
    add(place, vec![file(MODEL_FILE, b"another")]).unwrap()
}

fn names(place: &Path) -> HashSet<String> {
    let entries = fs::read_dir(place.join(DIRECTORY)).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// The models that the next start finds: each whole, and nothing else in the directory.
fn found(place: &Path) -> Vec<Digest> {
    let store = opened(place).unwrap();
    let found = store.list().unwrap();
    assert_eq!(names(place), found.iter().map(Digest::directory_name).collect(), "something stays for ever");
    for digest in &found {
        let path = store.path_of(digest);
        match fs::read(path.join(MODEL_FILE)).unwrap().as_slice() {
            GRAPH => assert_eq!(fs::read(path.join("weights/w.bin")).unwrap(), WEIGHTS),
            other => assert_eq!(other, b"another"),
        }
    }
    found
}

/// Every file and directory of a copy reaches the disk after its last change and before the copy gets
/// its name, and so does the name.
fn assert_durable(calls: &[Call]) {
    let named = calls.iter().position(|call| call.name.starts_with("rename")).unwrap();
    let (before, after) = calls.split_at(named);
    let changes = |call: &&Call| matches!(call.name.as_str(), "mkdirat" | "openat2" | "write" | "fchmod");
    let copied: HashSet<&PathBuf> = before.iter().filter(changes).map(|call| &call.path).collect();
    assert_eq!(copied.len(), 4, "two directories with a file each: {copied:?}");
    for path in copied {
        let last = before.iter().rposition(|call| changes(&call) && call.path == *path).unwrap();
        assert!(before[last..].iter().any(|call| call.name == "fsync" && call.path == *path), "{}", path.display());
    }
    assert!(after.iter().any(|call| call.name == "fsync" && call.path == Path::new(DIRECTORY)));
}

struct Add;

impl Experiment for Add {
    fn prepare(&self, place: &Path) {
        beside(place);
    }

    fn act(&self, place: &Path) -> Result<(), Box<dyn Error>> {
        add(place, model())?;
        Ok(())
    }

    fn check(&self, place: &Path, end: End) {
        // After a failure the whole model may be there, as garbage: `found` looks at every byte.
        let found = found(place);
        assert!(found.len() == 2 || (end != End::Done && found.len() == 1), "{found:?}");
    }
}

#[test]
fn a_copy_is_nothing_or_whole() {
    assert_durable(&at_every_call("store::crash::a_copy_is_nothing_or_whole", &Add));
}

struct Remove {
    kept: Digest,
}

impl Experiment for Remove {
    fn prepare(&self, place: &Path) {
        beside(place);
        add(place, model()).unwrap();
    }

    fn act(&self, place: &Path) -> Result<(), Box<dyn Error>> {
        let store = opened(place)?;
        runtime().block_on(store.collect_garbage(HashSet::from([self.kept])))?;
        Ok(())
    }

    fn check(&self, place: &Path, end: End) {
        let found = found(place);
        assert!(found.contains(&self.kept));
        assert!(found.len() == 1 || (end != End::Done && found.len() == 2), "{found:?}");
    }
}

#[test]
fn garbage_is_whole_or_gone() {
    let kept = beside(tempfile::tempdir().unwrap().path());
    let calls = at_every_call("store::crash::garbage_is_whole_or_gone", &Remove { kept });
    let moved = calls.iter().position(|call| call.name.starts_with("rename")).unwrap();
    assert!(calls[..moved].iter().all(|call| call.name != "unlinkat"), "nothing is deleted before it left its place");
    assert_eq!((calls[moved + 1].name.as_str(), calls[moved + 1].path.as_path()), ("fsync", Path::new(DIRECTORY)));
}

/// A start that finds a copy and a removal that were interrupted, and then stores another model.
struct Start;

impl Experiment for Start {
    fn prepare(&self, place: &Path) {
        beside(place);
        for leftover in [format!("{INCOMING}0"), format!("{REMOVING}0")] {
            let directory = place.join(DIRECTORY).join(leftover);
            fs::create_dir(&directory).unwrap();
            fs::write(directory.join("half"), "half").unwrap();
        }
    }

    fn act(&self, place: &Path) -> Result<(), Box<dyn Error>> {
        add(place, vec![file(MODEL_FILE, b"another")])?;
        Ok(())
    }

    fn check(&self, place: &Path, _: End) {
        assert_eq!(found(place).len(), 1);
    }
}

#[test]
fn a_start_loses_nothing_and_cleans_up() {
    at_every_call("store::crash::a_start_loses_nothing_and_cleans_up", &Start);
}

/// The very first start: the directory has to outlive a power cut as what is copied into it.
struct FirstStart;

impl Experiment for FirstStart {
    fn prepare(&self, _: &Path) {}

    fn act(&self, place: &Path) -> Result<(), Box<dyn Error>> {
        Ok(opened(place).map(drop)?)
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

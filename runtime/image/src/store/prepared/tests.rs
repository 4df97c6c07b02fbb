#![allow(clippy::unwrap_used)]
use std::{error::Error, fs, os::unix::fs::PermissionsExt, path::PathBuf};

use dormouse_faults::{End, Experiment, at_every_call};

use super::*;

const CONTENT: &[u8] = &[7; 150_000];

fn key(byte: u8) -> Digest {
    Digest::from_sha256([byte; 32])
}

fn record(bytes: usize, verified: Verified) -> PreparedRecord {
    PreparedRecord { model: key(9), bytes: Bytes::new(bytes as u64), verified, sample: None }
}

fn open(data: &Path) -> PreparedStore {
    PreparedStore::open(data, StoreLimits { free_bytes_min: Bytes::new(0), ..StoreLimits::default() }).unwrap()
}

/// Sends the content in pieces, whatever becomes of them.
async fn add(
    store: &PreparedStore,
    key: Digest,
    content: &[u8],
    record: PreparedRecord,
) -> Result<PreparedModel, StoreError> {
    let (sender, chunks) = mpsc::channel(1);
    let pieces: Vec<Chunk> = content.chunks(40_000).map(Chunk::copy_from_slice).collect();
    tokio::spawn(async move {
        for piece in pieces {
            if sender.send(piece).await.is_err() {
                return;
            }
        }
    });
    store.add(key, record, chunks).await
}

fn file(data: &Path, key: Digest) -> PathBuf {
    data.join("prepared").join(key.directory_name()).join("model.ort")
}

fn names(data: &Path) -> Vec<String> {
    fs::read_dir(data.join("prepared"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[tokio::test]
async fn what_is_added_is_found_read_only_until_nobody_needs_it() {
    let data = tempfile::tempdir().unwrap();
    let store = open(data.path());
    assert!(store.find(key(1)).await.is_none());
    let added = add(&store, key(1), CONTENT, record(CONTENT.len(), Verified::Seeded)).await.unwrap();
    assert_eq!(fs::read(file(data.path(), key(1))).unwrap(), CONTENT);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&file(data.path(), key(1))), mode(file(data.path(), key(1)).parent().unwrap())), (0o444, 0o555));
    let found = store.find(key(1)).await.unwrap();
    assert_eq!(found.record, added.record);
    drop(added);
    assert_eq!(store.collect_garbage(HashSet::new()).await.unwrap(), [], "it is held");
    drop(found);
    assert_eq!(store.collect_garbage(HashSet::from([key(1)])).await.unwrap(), [], "it is needed");
    assert_eq!(store.collect_garbage(HashSet::new()).await.unwrap(), [key(1)]);
    assert_eq!(names(data.path()), [""; 0]);
}

#[tokio::test]
async fn another_one_of_the_same_key_takes_its_place() {
    let data = tempfile::tempdir().unwrap();
    let store = open(data.path());
    drop(add(&store, key(1), CONTENT, record(CONTENT.len(), Verified::No)).await.unwrap());
    let better = PreparedRecord { sample: Some(key(3)), ..record(3, Verified::Sample) };
    drop(add(&store, key(1), b"new", better.clone()).await.unwrap());
    assert_eq!(fs::read(file(data.path(), key(1))).unwrap(), b"new");
    assert_eq!(store.find(key(1)).await.unwrap().record, better);
    assert_eq!(names(data.path()).len(), 1);
}

#[tokio::test]
async fn a_stream_that_is_cut_off_or_goes_on_leaves_nothing_and_replaces_nothing() {
    let data = tempfile::tempdir().unwrap();
    let store = open(data.path());
    drop(add(&store, key(1), b"old", record(3, Verified::Seeded)).await.unwrap());
    for wrong in [CONTENT.len() - 1, CONTENT.len() + 1] {
        let error = add(&store, key(1), CONTENT, record(wrong, Verified::Seeded)).await.unwrap_err();
        assert!(matches!(error, StoreError::Changed { .. }), "{error}");
    }
    assert_eq!(fs::read(file(data.path(), key(1))).unwrap(), b"old");
    assert_eq!(names(data.path()).len(), 1);
}

#[tokio::test]
async fn one_that_is_too_large_is_refused_before_a_byte_of_it_is_taken() {
    let data = tempfile::tempdir().unwrap();
    let limits = StoreLimits { model_bytes_max: Bytes::new(10), free_bytes_min: Bytes::new(0) };
    let store = PreparedStore::open(data.path(), limits).unwrap();
    let (_sender, chunks) = mpsc::channel(1);
    let error = store.add(key(1), record(11, Verified::Seeded), chunks).await.unwrap_err();
    assert!(matches!(error, StoreError::TooLarge { .. }), "{error}");
}

#[tokio::test]
async fn one_that_is_damaged_is_none() {
    let data = tempfile::tempdir().unwrap();
    let store = open(data.path());
    for damage in [
        (|file: &Path| fs::remove_file(file).unwrap()) as fn(&Path),
        |file| fs::write(file, "short").unwrap(),
        |file| fs::remove_file(file.with_file_name("prepared.json")).unwrap(),
        |file| fs::write(file.with_file_name("prepared.json"), "{}").unwrap(),
    ] {
        drop(add(&store, key(1), CONTENT, record(CONTENT.len(), Verified::Seeded)).await.unwrap());
        let file = file(data.path(), key(1));
        for path in [file.parent().unwrap(), &file, &file.with_file_name("prepared.json")] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
        }
        assert!(store.find(key(1)).await.is_some());
        damage(&file);
        assert!(store.find(key(1)).await.is_none());
    }
}

struct Replace;

impl Experiment for Replace {
    fn prepare(&self, place: &Path) {
        add_now(place, b"old").unwrap();
    }

    fn act(&self, place: &Path) -> Result<(), Box<dyn Error>> {
        Ok(add_now(place, CONTENT)?)
    }

    fn check(&self, place: &Path, end: End) {
        let store = open(place);
        let found = runtime().block_on(store.find(key(1)));
        assert!(names(place).len() <= 1, "something stays for ever");
        match found {
            Some(_) => {
                let content = fs::read(file(place, key(1))).unwrap();
                assert!(content == CONTENT || (content == b"old" && end != End::Done));
            }
            // Between the one and the other there is none: the original serves.
            None => assert!(end != End::Done && names(place).is_empty()),
        }
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

fn add_now(place: &Path, content: &[u8]) -> Result<(), StoreError> {
    let store = PreparedStore::open(place, StoreLimits { free_bytes_min: Bytes::new(0), ..StoreLimits::default() })?;
    runtime().block_on(add(&store, key(1), content, record(content.len(), Verified::Seeded))).map(drop)
}

#[test]
fn whatever_fails_a_prepared_model_is_whole_or_not_there() {
    at_every_call("store::prepared::tests::whatever_fails_a_prepared_model_is_whole_or_not_there", &Replace);
}

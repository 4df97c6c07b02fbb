//! The store of images with the kernel failing it, or killing it, at every file operation.
#![allow(clippy::unwrap_used)]

use std::{error::Error, fs, path::Path, sync::Arc};

use bytes::Bytes as Chunk;
use dormouse_faults::{Call, End, Experiment, at_every_call};
use dormouse_spec::{Bytes, Digest};
use tokio::runtime::{Builder, Runtime};

use super::*;
use crate::StoreLimits;

const LAYER: &[u8] = &[7; 100_000];
const MANIFEST: &[u8] = b"a manifest";

fn runtime() -> Runtime {
    Builder::new_current_thread().build().unwrap()
}

fn opened(place: &Path) -> Result<ImageStore, StoreError> {
    ImageStore::open(place, StoreLimits { free_bytes_min: Bytes::new(0), ..StoreLimits::default() })
}

fn descriptor(content: &[u8]) -> Descriptor {
    let digest = Digest::from_sha256(Sha256::digest(content).into());
    Descriptor { media_type: String::new(), digest, size: content.len() as u64 }
}

async fn add(store: &ImageStore, name: &str, contents: [&'static [u8]; 2]) -> Result<(), ImageStoreError> {
    let mut writer = store.writer(descriptor(contents[0]))?;
    writer.write(Chunk::from_static(contents[0])).await?;
    let held = vec![writer.finish().await?, store.put(Chunk::from_static(contents[1])).await?];
    store.name(name.parse().unwrap(), descriptor(contents[1]), None, Arc::new(held)).await?;
    Ok(())
}

/// The names that the next start finds. Each leads to a whole blob, and nothing else is in the directory.
fn found(place: &Path) -> Vec<String> {
    let store = opened(place).unwrap();
    assert_eq!(store.damage(), None);
    let names = fs::read_dir(place.join(DIRECTORY)).unwrap().map(|entry| entry.unwrap().file_name());
    let belongs = |name: &std::ffi::OsString| [BLOBS, LAYOUT_FILE, "index.json"].contains(&name.to_str().unwrap());
    assert!(names.into_iter().all(|name| belongs(&name)), "something stays for ever");
    for entry in fs::read_dir(place.join(DIRECTORY).join("blobs/sha256")).unwrap() {
        let entry = entry.unwrap();
        let content = descriptor(&fs::read(entry.path()).unwrap());
        assert_eq!(entry.file_name().to_str().unwrap(), content.digest.hex());
    }
    let found = store.names().unwrap();
    for image in &found {
        assert!(runtime().block_on(store.find(image.manifest.clone())).is_some(), "{image:?}");
    }
    found.into_iter().map(|image| image.reference.familiar()).collect()
}

fn prepared(place: &Path) {
    runtime().block_on(add(&opened(place).unwrap(), "before:1", [b"layer", b"before"])).unwrap();
}

struct Pull;

impl Experiment for Pull {
    fn prepare(&self, place: &Path) {
        prepared(place);
    }

    fn act(&self, place: &Path) -> Result<(), Box<dyn Error>> {
        let store = opened(place)?;
        Ok(runtime().block_on(add(&store, "pulled:1", [LAYER, MANIFEST]))?)
    }

    fn check(&self, place: &Path, end: End) {
        let found = found(place);
        assert_eq!(found[0], "before:1");
        assert!(found.len() == 2 || (end != End::Done && found.len() == 1), "{found:?}");
    }
}

/// Blobs reach the disk before they have their names, and their names before the image has its own.
fn assert_durable(calls: &[Call]) {
    let renames = calls.iter().enumerate().filter(|(_, call)| call.name.starts_with("rename"));
    let renames: Vec<usize> = renames.map(|(at, _)| at).collect();
    let [.., layer, manifest, index] = renames[..] else { panic!("{calls:?}") };
    let synced = |from: usize, to: usize| calls[from..to].iter().any(|call| call.name == "fsync");
    assert!(synced(0, layer) && synced(layer, manifest) && synced(index, calls.len()), "{calls:?}");
    let directory = |call: &&Call| call.name == "fsync" && call.path.ends_with("blobs/sha256");
    assert!(calls[manifest..index].iter().any(|call| directory(&call)), "{calls:?}");
}

#[test]
fn a_name_leads_to_a_whole_image() {
    assert_durable(&at_every_call("store::images::crash::a_name_leads_to_a_whole_image", &Pull));
}

struct Use;

impl Experiment for Use {
    fn prepare(&self, place: &Path) {
        prepared(place);
        runtime().block_on(add(&opened(place).unwrap(), "later:1", [LAYER, MANIFEST])).unwrap();
    }

    fn act(&self, place: &Path) -> Result<(), Box<dyn Error>> {
        let store = opened(place)?;
        drop(runtime().block_on(store.note_use(descriptor(b"before").digest))?);
        Ok(())
    }

    fn check(&self, place: &Path, end: End) {
        assert_eq!(found(place).len(), 2);
        let [before, later] = [b"before".as_slice(), MANIFEST].map(|content| descriptor(content).digest);
        let uses = runtime().block_on(opened(place).unwrap().last_uses([before, later].into())).unwrap();
        assert!(end != End::Done || uses[&before].at > uses[&later].at, "{uses:?}");
    }
}

#[test]
fn a_use_is_noted_or_not_and_leaves_nothing_else() {
    at_every_call("store::images::crash::a_use_is_noted_or_not_and_leaves_nothing_else", &Use);
}

struct Remove;

impl Experiment for Remove {
    fn prepare(&self, place: &Path) {
        prepared(place);
        runtime().block_on(add(&opened(place).unwrap(), "removed:1", [LAYER, MANIFEST])).unwrap();
    }

    fn act(&self, place: &Path) -> Result<(), Box<dyn Error>> {
        let store = opened(place)?;
        runtime().block_on(async {
            store.unname([("removed:1".parse().unwrap(), descriptor(MANIFEST).digest)].into()).await?;
            let kept = [b"layer".as_slice(), b"before"].map(|content| descriptor(content).digest);
            store.collect_garbage(kept.into()).await
        })?;
        Ok(())
    }

    fn check(&self, place: &Path, end: End) {
        let found = found(place);
        assert_eq!(found[0], "before:1");
        assert!(found.len() == 1 || (end != End::Done && found.len() == 2), "{found:?}");
    }
}

#[test]
fn a_removal_takes_the_name_before_the_blobs() {
    let calls = at_every_call("store::images::crash::a_removal_takes_the_name_before_the_blobs", &Remove);
    let named = calls.iter().rposition(|call| call.name.starts_with("rename")).unwrap();
    let deleted = calls.iter().position(|call| call.name == "unlinkat").unwrap();
    assert!(named < deleted, "{calls:?}");
    assert!(calls[named..deleted].iter().any(|call| call.name == "fsync"), "{calls:?}");
}

#![allow(clippy::unwrap_used)]
mod archives;

use std::{
    collections::{BTreeSet, HashSet},
    fs,
    io::{Read, Seek, Write},
    os::fd::OwnedFd,
    path::Path,
    sync::Arc,
};

use bytes::Bytes as Chunk;
use dormouse_spec::{Bytes, Digest, ImageReference};
use sha2::{Digest as _, Sha256};

use super::*;
use crate::{StoreLimits, oci::MediaType};

fn opened(place: &Path) -> ImageStore {
    ImageStore::open(place, StoreLimits { free_bytes_min: Bytes::new(0), ..StoreLimits::default() }).unwrap()
}

fn digest(content: &[u8]) -> Digest {
    Digest::from_sha256(Sha256::digest(content).into())
}

fn descriptor(media_type: &str, content: &[u8]) -> Descriptor {
    Descriptor { media_type: media_type.to_owned(), digest: digest(content), size: content.len() as u64 }
}

fn reference(text: &str) -> ImageReference {
    text.parse().unwrap()
}

fn blobs(place: &Path) -> HashSet<String> {
    let entries = fs::read_dir(place.join("images/blobs/sha256")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Everything in the store's own directory but what belongs there.
fn leftovers(place: &Path) -> Vec<String> {
    let entries = fs::read_dir(place.join("images")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| !["blobs", "index.json", "oci-layout"].contains(&name.as_str())).collect()
}

/// A configuration, a layer, and the manifest that has both.
struct Sample {
    config: Vec<u8>,
    layer: Vec<u8>,
    manifest: Vec<u8>,
}

impl Sample {
    fn new(content: &str) -> Self {
        let layer = content.as_bytes().to_vec();
        let machine = crate::oci::Platform::of_this_machine();
        let config = serde_json::json!({
            "os": machine.os, "architecture": machine.architecture,
            "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] },
        });
        let config = serde_json::to_vec(&config).unwrap();
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": MediaType::OciManifest.as_str(),
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
            "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
        });
        Self { config, layer, manifest: serde_json::to_vec(&manifest).unwrap() }
    }

    fn all(&self) -> [&[u8]; 3] {
        [&self.config, &self.layer, &self.manifest]
    }

    fn digests(&self) -> HashSet<Digest> {
        self.all().map(digest).into()
    }

    fn manifest(&self) -> Descriptor {
        descriptor(MediaType::OciManifest.as_str(), &self.manifest)
    }

    async fn store(&self, store: &ImageStore, name: &str) -> NamedImage {
        let mut held = Vec::new();
        for content in self.all() {
            held.push(store.put(Chunk::copy_from_slice(content)).await.unwrap());
        }
        store.name(reference(name), self.manifest(), None, Arc::new(held)).await.unwrap()
    }
}

fn archive(files: &[(&str, &[u8])]) -> OwnedFd {
    let mut builder = tar::Builder::new(tempfile::tempfile().unwrap());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, path, *content).unwrap();
    }
    let mut file = builder.into_inner().unwrap();
    file.rewind().unwrap();
    file.into()
}

fn blob_path(content: &[u8]) -> String {
    format!("blobs/sha256/{}", digest(content).hex())
}

#[tokio::test]
async fn a_blob_has_its_digest_and_size_or_is_not_there() {
    let place = tempfile::tempdir().unwrap();
    let store = opened(place.path());
    let wanted = descriptor("", b"content");
    for (chunks, good) in [(["con", "tent"], true), (["con", "test"], false), (["con", "tent and more"], false)] {
        let mut writer = store.writer(wanted.clone()).unwrap();
        for chunk in chunks {
            writer.write(Chunk::from(chunk)).await.unwrap();
        }
        assert_eq!(writer.finish().await.is_ok(), good, "{chunks:?}");
        assert!(blobs(place.path()).contains(&wanted.digest.hex()));
    }
    assert_eq!(blobs(place.path()).len(), 1);
    assert_eq!(leftovers(place.path()), [""; 0]);
    let other = Descriptor { size: 8, ..wanted.clone() };
    assert!(store.find(wanted).await.is_some() && store.find(other).await.is_none());
}

#[tokio::test]
async fn a_transfer_that_begins_anew_keeps_nothing_of_before() {
    let place = tempfile::tempdir().unwrap();
    let store = opened(place.path());
    let mut writer = store.writer(descriptor("", b"content")).unwrap();
    writer.write(Chunk::from("something longer than that")).await.unwrap();
    writer.restart().await.unwrap();
    assert_eq!(writer.bytes(), 0);
    writer.write(Chunk::from("content")).await.unwrap();
    writer.finish().await.unwrap();
    assert_eq!(store.read(digest(b"content"), 7).await.unwrap(), b"content");
    assert!(store.read(digest(b"content"), 6).await.is_err());
}

#[tokio::test]
async fn a_blob_that_was_changed_on_disk_is_not_read() {
    let place = tempfile::tempdir().unwrap();
    let store = opened(place.path());
    store.put(Chunk::from("content")).await.unwrap();
    let path = place.path().join("images").join(blob_path(b"content"));
    fs::remove_file(&path).unwrap();
    fs::write(&path, "CONTENT").unwrap();
    let error = store.read(digest(b"content"), 100).await.unwrap_err();
    assert!(matches!(error, ImageStoreError::Rotted { .. }), "{error}");
}

#[tokio::test]
async fn names_outlive_the_process_and_lead_to_what_they_were_given() {
    let place = tempfile::tempdir().unwrap();
    let (one, other) = (Sample::new("one"), Sample::new("other"));
    {
        let store = opened(place.path());
        one.store(&store, "a:1").await;
        one.store(&store, "a:2").await;
        other.store(&store, "a:2").await;
    }
    let store = opened(place.path());
    let found = |name: &str| store.named(&reference(name)).ok().map(|image| image.manifest);
    assert_eq!((found("a:1"), found("a:2"), found("a:3")), (Some(one.manifest()), Some(other.manifest()), None));
    let by_digest = |repository: &str| found(&format!("{repository}@{}", one.manifest().digest));
    assert_eq!((by_digest("a"), by_digest("b")), (Some(one.manifest()), None));
    let goes = |name: &str| {
        let images = store.all_named(&reference(name)).unwrap_or_default();
        images.iter().map(|image| image.reference.familiar()).collect::<Vec<_>>().join(" ")
    };
    one.store(&store, "a:4").await;
    let pinned = |name: &str| format!("{name}@{}", one.manifest().digest);
    assert_eq!((goes("a:1"), goes("a:3"), goes(&pinned("a"))), ("a:1".into(), String::new(), "a:1 a:4".into()));
    assert_eq!(
        (goes(&pinned("a:4")), goes(&pinned("a:2")), goes(&pinned("b"))),
        ("a:4".into(), String::new(), String::new())
    );
    one.store(&store, &pinned("a:1")).await;
    assert_eq!(goes(&pinned("a:1")), pinned("a:1"), "the one that is called so");

    let seen = ["a:1", "a:2", "a:3", "a:4", &pinned("a:1")].map(|name| (reference(name), one.manifest().digest));
    let taken = store.unname(seen.into()).await.unwrap();
    assert_eq!(taken, ["a:1", "a:4", &pinned("a:1")].map(reference).into(), "and not what means something else by now");
    assert_eq!(store.names().unwrap().iter().map(|image| image.reference.familiar()).collect::<Vec<_>>(), ["a:2"]);
}

#[tokio::test]
async fn garbage_is_what_is_neither_reachable_nor_held() {
    let place = tempfile::tempdir().unwrap();
    let store = opened(place.path());
    let (kept, removed) = (Sample::new("kept"), Sample::new("removed"));
    kept.store(&store, "kept").await;
    removed.store(&store, "removed").await;
    let held = store.put(Chunk::from("held")).await.unwrap();
    let freed = store.collect_garbage(kept.digests()).await.unwrap();
    assert_eq!(freed.blobs, 3);
    assert_eq!(freed.bytes.get(), removed.all().map(|content| content.len() as u64).iter().sum::<u64>());
    assert_eq!(blobs(place.path()).len(), 4);
    drop(held);
    assert_eq!(store.collect_garbage(kept.digests()).await.unwrap().blobs, 1);
}

#[tokio::test]
async fn a_damaged_index_is_kept_and_changes_nothing() {
    let place = tempfile::tempdir().unwrap();
    let index = place.path().join("images/index.json");
    Sample::new("kept").store(&opened(place.path()), "kept").await;
    for damage in ["{", r#"{"schemaVersion":2,"manifests":[{"mediaType":"x","digest":"sha256:no","size":1}]}"#] {
        fs::write(&index, damage).unwrap();
        let store = opened(place.path());
        assert!(store.damage().unwrap().contains("index.json"), "{damage}");
        assert!(store.collect_garbage(HashSet::new()).await.is_err());
        let error = store.name(reference("a"), Sample::new("b").manifest(), None, Arc::default()).await.unwrap_err();
        assert!(matches!(error, ImageStoreError::Damaged(_)), "{error}");
        assert_eq!(fs::read_to_string(&index).unwrap(), damage);
        assert_eq!(blobs(place.path()).len(), 3);
    }
}

#[tokio::test]
async fn what_is_exported_is_imported_as_the_same_and_twice_the_same_bytes() {
    let (place, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = opened(place.path());
    let (one, other) = (Sample::new("one"), Sample::new("other"));
    one.store(&store, "registry.example.com/one:1").await;
    other.store(&store, "other").await;
    let names = || BTreeSet::from([reference("other"), reference("registry.example.com/one:1")]);
    let mut archives = Vec::new();
    for _ in 0..2 {
        let mut archive = tempfile::tempfile().unwrap();
        let exported = store.export(&names(), archive.try_clone().unwrap().into(), Arc::default()).await.unwrap();
        assert_eq!(exported.images, 2);
        archive.rewind().unwrap();
        let mut bytes = Vec::new();
        archive.read_to_end(&mut bytes).unwrap();
        archive.rewind().unwrap();
        archives.push((archive, bytes));
    }
    let (archive, bytes) = archives.pop().unwrap();
    assert_eq!(bytes, archives.pop().unwrap().1);
    let receiver = opened(elsewhere.path());
    let imported = receiver.import(archive.into(), Arc::default(), |_| {}).await.unwrap();
    let found: Vec<_> =
        imported.images.iter().map(|image| (image.references().unwrap(), image.manifest.clone())).collect();
    let expected = [("other", &other), ("registry.example.com/one:1", &one)];
    assert_eq!(found, expected.map(|(name, sample)| ([reference(name)].into(), sample.manifest())));
    assert_eq!(blobs(elsewhere.path()), blobs(place.path()));
    assert!(matches!(
        store.export(&[reference("c")].into(), tempfile::tempfile().unwrap().into(), Arc::default()).await,
        Err(ArchiveError::Store(ImageStoreError::NotFound(_)))
    ));
}

#[tokio::test]
async fn what_docker_saves_becomes_an_image_with_a_manifest() {
    let place = tempfile::tempdir().unwrap();
    let store = opened(place.path());
    let sample = Sample::new("layer");
    let listing = br#"[{"Config":"c.json","RepoTags":["app:1","app:2"],"Layers":["l/layer.tar"]}]"#;
    let mut builder =
        tar::Builder::new(flate2::write::GzEncoder::new(tempfile::tempfile().unwrap(), flate2::Compression::fast()));
    let mut add = |path: &str, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, path, content).unwrap();
    };
    add("other/layer.tar", &sample.layer);
    add("c.json", &sample.config);
    add("manifest.json", listing);
    let mut link = tar::Header::new_gnu();
    link.set_entry_type(tar::EntryType::Symlink);
    link.set_size(0);
    builder.append_link(&mut link, "l/layer.tar", "../other/layer.tar").unwrap();
    let mut file = builder.into_inner().unwrap().finish().unwrap();
    file.rewind().unwrap();
    let imported = store.import(file.into(), Arc::default(), |_| {}).await.unwrap();
    let [image] = imported.images.as_slice() else { panic!("{imported:?}") };
    assert_eq!(image.references().unwrap(), [reference("app:1"), reference("app:2")].into());
    let manifest = store.read(image.manifest.digest, 10_000).await.unwrap();
    let crate::oci::Document::Manifest(manifest) =
        crate::oci::Document::parse_as(&manifest, &image.manifest.media_type).unwrap()
    else {
        panic!()
    };
    assert_eq!(manifest.config.digest, digest(&sample.config));
    assert_eq!(manifest.layers, [descriptor("application/vnd.oci.image.layer.v1.tar", &sample.layer)]);
}

#[tokio::test]
async fn what_is_no_archive_of_images_is_refused_in_words() {
    let place = tempfile::tempdir().unwrap();
    let store = opened(place.path());
    let sample = Sample::new("layer");
    let index = |manifest: &[u8]| {
        let entry = descriptor(MediaType::OciManifest.as_str(), manifest);
        serde_json::to_vec(&serde_json::json!({ "schemaVersion": 2, "manifests": [entry] })).unwrap()
    };
    let (manifest, config, layer) = (blob_path(&sample.manifest), blob_path(&sample.config), blob_path(&sample.layer));
    let good_index = index(&sample.manifest);
    let whole: Vec<(&str, &[u8])> = vec![
        (&manifest, &sample.manifest),
        (&config, &sample.config),
        (&layer, &sample.layer),
        ("index.json", &good_index),
    ];
    assert!(store.import(archive(&whole), Arc::default(), |_| {}).await.is_ok());
    let without = |left_out: &str| whole.iter().filter(|(path, _)| *path != left_out).copied().collect::<Vec<_>>();
    let with = |path: &'static str, content: &'static [u8]| [whole.clone(), vec![(path, content)]].concat();
    let exchanged: Vec<(&str, &[u8])> = vec![(&layer, b"LAYER")];
    for (files, said) in [
        (without(&layer), "which is not in it"),
        (without(&manifest), "which is not in it"),
        (without("index.json"), "it is no archive of images"),
        (with("index.json", b"["), "index.json"),
        (exchanged, "digest"),
        (vec![("manifest.json", br#"[{"Config":"c","RepoTags":null,"Layers":[]}]"#)], "`c`"),
        (vec![("manifest.json", br#"[{"Config":"../c","RepoTags":null,"Layers":[]}]"#)], "`../c`"),
    ] {
        let empty = tempfile::tempdir().unwrap();
        let error = opened(empty.path()).import(archive(&files), Arc::default(), |_| {}).await.unwrap_err();
        let told =
            format!("{error}: {}", std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default());
        assert!(told.contains(said), "{told}");
        assert_eq!(leftovers(empty.path()), [""; 0]);
    }
    for content in [&b"not an archive at all, but long enough to be a header"[..], &[0x28, 0xb5, 0x2f, 0xfd, 0], b""] {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file.rewind().unwrap();
        assert!(store.import(file.into(), Arc::default(), |_| {}).await.is_err(), "{content:?}");
    }
}

#[tokio::test]
async fn what_rotted_on_disk_is_not_exported_and_an_import_mends_it() {
    let place = tempfile::tempdir().unwrap();
    let store = opened(place.path());
    let sample = Sample::new("layer");
    sample.store(&store, "app").await;
    let names = [reference("app")].into();
    let mut archive = tempfile::tempfile().unwrap();
    store.export(&names, archive.try_clone().unwrap().into(), Arc::default()).await.unwrap();
    let path = place.path().join("images").join(blob_path(&sample.layer));
    fs::remove_file(&path).unwrap();
    fs::write(&path, "LAYER").unwrap();
    assert!(matches!(store.verify(digest(&sample.layer)).await, Err(ImageStoreError::Rotted { .. })));
    let nowhere = || tempfile::tempfile().unwrap().into();
    let layer = descriptor("", &sample.layer);
    let is_rotted = |exported: &Result<Exported, ArchiveError>| {
        let told = exported.as_ref().err().map(ToString::to_string).unwrap_or_default();
        told.contains("damaged on this node: pull or import") && told.contains(&layer.digest.to_string())
    };
    let held = store.find(layer.clone()).await.unwrap();
    let exported = store.export(&names, nowhere(), Arc::default()).await;
    assert!(is_rotted(&exported) && path.exists(), "{exported:?}");
    drop(held);
    let exported = store.export(&names, nowhere(), Arc::default()).await;
    assert!(is_rotted(&exported), "{exported:?}");
    assert!(store.find(layer).await.is_none(), "whoever pulls the image finds that it is there, and does not fetch it");
    archive.rewind().unwrap();
    store.import(archive.into(), Arc::default(), |_| {}).await.unwrap();
    store.verify(digest(&sample.layer)).await.unwrap();
    store.export(&names, nowhere(), Arc::default()).await.unwrap();
}

#[tokio::test]
async fn a_name_that_is_none_is_told_where_it_is_needed() {
    let manifest = Sample::new("a").manifest();
    let named = |names: &[&str]| ImportedImage {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        manifest: manifest.clone(),
        indexes: BTreeSet::new(),
    };
    assert!(matches!(named(&[]).references(), Err(ArchiveError::NoName(_))));
    assert!(matches!(named(&["Not A Name"]).references(), Err(ArchiveError::BadName { .. })));
    assert!(matches!(named(&["a"; 65]).references(), Err(ArchiveError::TooMany { .. })));
    assert_eq!(named(&["a", "a:latest"]).references().unwrap(), [reference("a")].into());
}

#[tokio::test]
async fn whoever_goes_away_is_waited_for_no_longer() {
    let place = tempfile::tempdir().unwrap();
    let (reading, _writing) = std::io::pipe().unwrap();
    let went_away = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let error = opened(place.path()).import(reading.into(), went_away, |_| {}).await.unwrap_err();
    assert!(matches!(error, ArchiveError::Read(_)), "{error}");
}

async fn last_used(store: &ImageStore, of: &NamedImage) -> std::time::Duration {
    let digest = of.manifest.digest;
    store.last_uses([digest].into()).await.unwrap()[&digest].at
}

#[tokio::test]
async fn the_order_of_uses_outlives_the_store_and_a_clock_that_is_set_back() {
    let place = tempfile::tempdir().unwrap();
    let store = opened(place.path());
    let one = Sample::new("one").store(&store, "one").await;
    let two = Sample::new("two").store(&store, "two").await;
    assert!(last_used(&store, &one).await < last_used(&store, &two).await, "the order in which they came");
    drop(store.note_use(one.manifest.digest).await.unwrap());
    assert!(last_used(&store, &one).await > last_used(&store, &two).await);
    drop(store);

    let store = opened(place.path());
    assert!(last_used(&store, &one).await > last_used(&store, &two).await);
    // As if the clock had been a day ahead.
    let path = place.path().join("images/blobs/sha256").join(one.manifest.digest.hex());
    let ahead = last_used(&store, &one).await + std::time::Duration::from_secs(86_400);
    fs::File::open(path).unwrap().set_modified(std::time::UNIX_EPOCH + ahead).unwrap();
    drop(store.note_use(two.manifest.digest).await.unwrap());
    assert!(last_used(&store, &two).await > ahead);
    drop(store.note_use(one.manifest.digest).await.unwrap());
    assert!(last_used(&store, &one).await > last_used(&store, &two).await);
}

#[tokio::test]
async fn whoever_uses_an_image_keeps_its_manifest_and_what_is_not_there_cannot_be_used() {
    let place = tempfile::tempdir().unwrap();
    let store = opened(place.path());
    let sample = Sample::new("one");
    let digest = sample.store(&store, "one").await.manifest.digest;
    assert!(!store.is_held(&digest));
    let used = store.note_use(digest).await.unwrap();
    assert!(store.is_held(&digest) && used.size == sample.manifest.len() as u64);
    store.collect_garbage(HashSet::new()).await.unwrap();
    assert!(blobs(place.path()).contains(&digest.hex()));
    drop(used);
    store.collect_garbage(HashSet::new()).await.unwrap();
    assert!(store.note_use(digest).await.is_err());
    assert_eq!(store.last_uses([digest].into()).await.unwrap().len(), 0);
}

#[tokio::test]
async fn a_media_type_is_stored_without_what_nobody_reads() {
    let place = tempfile::tempdir().unwrap();
    let sample = Sample::new("layer");
    let long = format!("{}; {}", MediaType::OciManifest.as_str(), "x".repeat(100_000));
    let entry = descriptor(&long, &sample.manifest);
    let index = serde_json::to_vec(&serde_json::json!({ "schemaVersion": 2, "manifests": [entry] })).unwrap();
    let paths = [blob_path(&sample.manifest), blob_path(&sample.config), blob_path(&sample.layer)];
    let files: Vec<(&str, &[u8])> = vec![
        (&paths[0], &sample.manifest),
        (&paths[1], &sample.config),
        (&paths[2], &sample.layer),
        ("index.json", &index),
    ];
    let imported = opened(place.path()).import(archive(&files), Arc::default(), |_| {}).await.unwrap();
    assert_eq!(imported.images[0].manifest, sample.manifest());
}

//! What archives say of the images that they have, and whether it is believed.

use super::*;
use crate::oci::Platform;

fn json(value: &serde_json::Value) -> Vec<u8> {
    serde_json::to_vec(value).unwrap()
}

/// An index of manifests, each for a platform.
fn index(manifests: &[(Descriptor, &Platform)]) -> Vec<u8> {
    let entries: Vec<_> = manifests
        .iter()
        .map(|(manifest, platform)| {
            serde_json::json!({
                "mediaType": manifest.media_type, "digest": manifest.digest, "size": manifest.size,
                "platform": platform,
            })
        })
        .collect();
    json(&serde_json::json!({
        "schemaVersion": 2, "mediaType": MediaType::OciIndex.as_str(), "manifests": entries,
    }))
}

/// An archive of an image and of whatever documents lead to it; `listed` are those that it lists, and by what name.
fn layout(sample: &Sample, documents: &[&[u8]], listed: &[(Descriptor, Option<&str>)]) -> OwnedFd {
    let entries: Vec<_> = listed
        .iter()
        .map(|(entry, name)| {
            let annotations: std::collections::BTreeMap<_, _> =
                name.iter().map(|name| (index::REF_NAME, (*name).to_owned())).collect();
            serde_json::json!({
                "mediaType": entry.media_type, "digest": entry.digest, "size": entry.size,
                "annotations": annotations,
            })
        })
        .collect();
    let listing = json(&serde_json::json!({ "schemaVersion": 2, "manifests": entries }));
    let contents = sample.all().into_iter().chain(documents.iter().copied());
    let blobs: Vec<_> = contents.map(|content| (blob_path(content), content)).collect();
    let mut files: Vec<(&str, &[u8])> = blobs.iter().map(|(path, content)| (path.as_str(), *content)).collect();
    files.push(("index.json", &listing));
    archive(&files)
}

async fn imported(archive: OwnedFd) -> Result<Vec<ImportedImage>, ArchiveError> {
    let place = tempfile::tempdir().unwrap();
    Ok(opened(place.path()).import(archive, Arc::default(), |_| {}).await?.images)
}

/// The image of an archive that has one.
async fn only(archive: OwnedFd) -> ImportedImage {
    let mut images = imported(archive).await.unwrap();
    assert_eq!(images.len(), 1, "{images:?}");
    images.remove(0)
}

#[tokio::test]
async fn a_name_with_a_digest_is_believed_only_of_that_content() {
    let (sample, other) = (Sample::new("one"), Sample::new("other"));
    let machine = Platform::of_this_machine();
    let index = index(&[(sample.manifest(), &machine)]);
    let of_index = descriptor(MediaType::OciIndex.as_str(), &index);
    let named = |digest: Digest| format!("docker.io/library/app:1@{digest}");
    for (listed, digest, is_right) in [
        (sample.manifest(), sample.manifest().digest, true),
        (sample.manifest(), other.manifest().digest, false),
        // Nothing was seen of this index.
        (sample.manifest(), of_index.digest, false),
        (of_index.clone(), of_index.digest, true),
        (of_index.clone(), sample.manifest().digest, true),
        (of_index.clone(), other.manifest().digest, false),
    ] {
        let name = named(digest);
        let image = only(layout(&sample, &[&index], &[(listed, Some(&name))])).await;
        assert_eq!(image.manifest, sample.manifest());
        assert_eq!(image.called(reference(&name)).is_ok(), is_right, "{name}");
        match image.references() {
            Ok(references) => assert!(is_right && references == [reference(&name)].into(), "{name}"),
            Err(error) => {
                let told = error.to_string();
                let is = sample.manifest().digest.to_string();
                assert!(!is_right && [&name, &is, "--name"].iter().all(|word| told.contains(*word)), "{told}");
            }
        }
    }
    let both = layout(&sample, &[&index], &[(sample.manifest(), Some(&named(of_index.digest))), (of_index, None)]);
    assert!(only(both).await.references().is_ok(), "one entry has the index, and another one the name");
}

#[tokio::test]
async fn an_image_that_was_pulled_by_the_digest_of_its_index_is_exported_by_that_of_its_manifest() {
    let place = tempfile::tempdir().unwrap();
    let store = opened(place.path());
    let sample = Sample::new("one");
    let (of_index, manifest) = (digest(b"an index"), sample.manifest().digest);
    for (name, exported) in [
        (format!("example.org/app@{of_index}"), format!("example.org/app@{manifest}")),
        (format!("example.org/app:1@{of_index}"), format!("example.org/app:1@{manifest}")),
        (format!("example.org/app:1@{manifest}"), format!("example.org/app:1@{manifest}")),
        ("example.org/app:1".to_owned(), "example.org/app:1".to_owned()),
    ] {
        sample.store(&store, &name).await;
        let mut file = tempfile::tempfile().unwrap();
        let names = [reference(&name)].into();
        store.export(&names, file.try_clone().unwrap().into(), Arc::default()).await.unwrap();
        file.rewind().unwrap();
        assert_eq!(only(file.into()).await.references().unwrap(), [reference(&exported)].into());
    }
}

#[tokio::test]
async fn a_size_that_no_ordinary_header_can_tell_is_refused_and_one_that_it_can_is_not() {
    for (size, is_refused) in [
        ("5", false),
        ("0000000000005", false),
        ("8589934591", false),
        ("8589934592", true),
        ("9999999999", true),
        ("10000000000", true),
        ("99999999999999999999999", true),
        ("many", true),
    ] {
        let sample = Sample::new("layer");
        let index = json(&serde_json::json!({ "schemaVersion": 2, "manifests": [sample.manifest()] }));
        let mut builder = tar::Builder::new(tempfile::tempfile().unwrap());
        builder.append_pax_extensions([("size", size.as_bytes())]).unwrap();
        let paths = sample.all().map(blob_path);
        let files = paths.iter().map(String::as_str).zip(sample.all()).chain([("index.json", index.as_slice())]);
        for (path, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            builder.append_data(&mut header, path, content).unwrap();
        }
        let mut file = builder.into_inner().unwrap();
        file.rewind().unwrap();
        match imported(file.into()).await {
            Ok(images) => assert!(!is_refused && images.len() == 1, "{size}"),
            Err(error) => assert!(is_refused && error.to_string().contains("pull it"), "{size}: {error}"),
        }
    }
}

#[tokio::test]
async fn what_is_not_for_this_machine_is_passed_over_where_something_else_is() {
    let sample = Sample::new("layer");
    let machine = Platform::of_this_machine();
    let other = Platform { architecture: "riscv128".to_owned(), ..machine.clone() };
    let elsewhere = descriptor(MediaType::OciManifest.as_str(), b"of another machine");
    let foreign = index(&[(elsewhere, &other)]);
    let of_foreign = descriptor(MediaType::OciIndex.as_str(), &foreign);
    let listed = [(of_foreign.clone(), Some("example.org/foreign:1")), (sample.manifest(), Some("example.org/app:1"))];
    let image = only(layout(&sample, &[&foreign], &listed)).await;
    assert_eq!(image.references().unwrap(), [reference("example.org/app:1")].into());

    let told = imported(layout(&sample, &[&foreign], &[(of_foreign.clone(), None)])).await.unwrap_err();
    let told = std::error::Error::source(&told).map(ToString::to_string).unwrap_or_default();
    assert!(told.contains("not made for this machine") && told.contains("riscv128"), "{told}");

    let nested = index(&[(of_foreign, &machine)]);
    let of_nested = descriptor(MediaType::OciIndex.as_str(), &nested);
    let told = imported(layout(&sample, &[&foreign, &nested], &[(of_nested, None)])).await.unwrap_err();
    let told = std::error::Error::source(&told).map(ToString::to_string).unwrap_or_default();
    assert!(told.contains("another index, which is not supported"), "{told}");
}

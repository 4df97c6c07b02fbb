//! `index.json` of an OCI layout.

use std::{collections::BTreeMap, sync::Arc};

use dormouse_spec::Digest;
use serde::Deserialize;

use super::{
    ArchiveError, IMAGES_MAX,
    import::{Found, ImportedImage},
};
use crate::{
    oci::{Descriptor, Document, DocumentError, ImageManifest, MANIFEST_BYTES_MAX, MediaType, Platform},
    store::images::{ImageStoreError, Images, index},
};

#[derive(Deserialize)]
struct Listing {
    manifests: Vec<Entry>,
}

// Nothing is flattened: that would keep members that nobody reads, at many times their length.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    media_type: String,
    digest: Digest,
    size: u64,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    platform: Option<Platform>,
}

pub(super) fn images(
    images: &Arc<Images>,
    found: &mut Found,
    listing: &[u8],
) -> Result<Vec<ImportedImage>, ArchiveError> {
    let listing: Listing = serde_json::from_slice(listing).map_err(|error| ArchiveError::file("index.json", &error))?;
    if listing.manifests.len() > IMAGES_MAX {
        return Err(ArchiveError::TooMany { what: "images", max: IMAGES_MAX });
    }
    let machine = Platform::of_this_machine();
    let mut imported: Vec<ImportedImage> = Vec::new();
    let (mut other, mut has_other) = (Vec::new(), false);
    for Entry { media_type, digest, size, annotations, platform } in listing.manifests {
        let descriptor = Descriptor { media_type, digest, size };
        // Of one image's manifests for several platforms, which some tools list side by side.
        if let Some(platform) = platform.filter(|platform| machine.rank(platform).is_none()) {
            other.push(platform);
            has_other = true;
            continue;
        }
        let name = name_of(&annotations);
        let Led { manifest, document, index } = match led_to(images, found, descriptor, &machine) {
            // The archive may have others that are.
            Err(ArchiveError::Document(DocumentError::NoPlatform { available, .. })) => {
                other.extend(available);
                has_other = true;
                continue;
            }
            led => led?,
        };
        check_blobs(found, &document)?;
        match imported.iter_mut().find(|image| image.manifest == manifest) {
            Some(image) => {
                image.names.extend(name);
                image.indexes.extend(index);
            }
            None => imported.push(ImportedImage {
                names: name.into_iter().collect(),
                manifest,
                indexes: index.into_iter().collect(),
            }),
        }
    }
    if imported.is_empty() && has_other {
        return Err(DocumentError::NoPlatform { machine, available: other }.into());
    }
    Ok(imported)
}

/// What `index.json` calls an image. A tag alone is no name, as of `skopeo copy … oci:DIR:1.0`.
fn name_of(annotations: &BTreeMap<String, String>) -> Option<String> {
    let of_tools = || annotations.get(index::REF_NAME).filter(|name| name.contains([':', '/', '@']));
    annotations.get(index::CONTAINERD_NAME).or_else(of_tools).cloned()
}

/// What a descriptor led to.
struct Led {
    /// For this machine.
    manifest: Descriptor,
    document: ImageManifest,
    /// The index on the way, where there was one.
    index: Option<Digest>,
}

fn led_to(
    images: &Arc<Images>,
    found: &Found,
    descriptor: Descriptor,
    machine: &Platform,
) -> Result<Led, ArchiveError> {
    match document(images, found, &descriptor)? {
        Document::Manifest(document) => Ok(Led { manifest: as_parsed(descriptor), document, index: None }),
        Document::Index(index) => {
            let (chosen, _) = index.choose(machine)?;
            let chosen = chosen.clone();
            match document(images, found, &chosen)? {
                Document::Manifest(document) => {
                    Ok(Led { manifest: as_parsed(chosen), document, index: Some(descriptor.digest) })
                }
                Document::Index(_) => Err(DocumentError::Nested.into()),
            }
        }
    }
}

/// Without the parameters that a media type may have, and that nobody reads.
fn as_parsed(mut manifest: Descriptor) -> Descriptor {
    if let Some(known) = MediaType::parse(&manifest.media_type) {
        known.as_str().clone_into(&mut manifest.media_type);
    }
    manifest
}

fn document(images: &Arc<Images>, found: &Found, descriptor: &Descriptor) -> Result<Document, ArchiveError> {
    check_is_there(found, descriptor)?;
    let content = images.read(&descriptor.digest, MANIFEST_BYTES_MAX)?;
    Ok(Document::parse_as(&content, &descriptor.media_type)?)
}

fn check_blobs(found: &Found, manifest: &ImageManifest) -> Result<(), ArchiveError> {
    let mut blobs = std::iter::once(&manifest.config).chain(&manifest.layers);
    blobs.try_for_each(|blob| check_is_there(found, blob))
}

fn check_is_there(found: &Found, wanted: &Descriptor) -> Result<(), ArchiveError> {
    let blob = found.blobs.get(&wanted.digest).ok_or(ArchiveError::Missing(wanted.digest))?;
    if blob.size == wanted.size {
        return Ok(());
    }
    Err(ImageStoreError::Size { expected: wanted.size, found: blob.size }.into())
}

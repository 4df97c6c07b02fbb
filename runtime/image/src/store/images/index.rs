//! `index.json`: the names of images, as other tools read them too.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
};

use dormouse_spec::{Bytes, Digest, ImageReference};
use serde::{Deserialize, Serialize};

use super::{ImageStoreError, Inner, NamedImage, names::NAMES_MAX};
use crate::oci::{Descriptor, MediaType};

pub(super) const FILE: &str = "index.json";
/// A kilobyte a name, and more.
const BYTES_MAX: u64 = 4 << 20;

/// What `skopeo` and `umoci` find an image by.
pub(super) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// What `docker load` and `ctr` find it by.
pub(super) const CONTAINERD_NAME: &str = "io.containerd.image.name";
const SOURCE: &str = "dormouse.dev/source-digest";
const NAMED_AT: &str = "dormouse.dev/named-at";

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u32,
    #[serde(default)]
    media_type: Option<String>,
    manifests: Vec<Entry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    #[serde(flatten)]
    manifest: Descriptor,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// An index that is not there has no names; otherwise what is wrong with it, in words.
pub(super) fn read(store: &Inner) -> Result<BTreeMap<ImageReference, NamedImage>, String> {
    let path = store.path.join(FILE);
    let mut text = Vec::new();
    match File::open(&path).and_then(|file| file.take(BYTES_MAX + 1).read_to_end(&mut text)) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(format!("reading `{}` failed: {error}", path.display())),
    }
    let wrong = |what: String| format!("`{}` {what}", path.display());
    if text.len() as u64 > BYTES_MAX {
        return Err(wrong(format!("is longer than {BYTES_MAX} bytes")));
    }
    let index: Index = serde_json::from_slice(&text).map_err(|error| wrong(format!("is no OCI index: {error}")))?;
    if index.manifests.len() > NAMES_MAX {
        return Err(wrong(format!("has more than {NAMES_MAX} names")));
    }
    index.manifests.into_iter().map(|entry| named(entry).map_err(&wrong)).collect()
}

fn named(Entry { manifest, annotations }: Entry) -> Result<(ImageReference, NamedImage), String> {
    let annotation = |key: &str| annotations.get(key);
    let digest = manifest.digest;
    let reference = annotation(REF_NAME).ok_or_else(|| format!("has a manifest without a name: {digest}"))?;
    let reference: ImageReference = reference.parse().map_err(|error| format!("has a name that is none: {error}"))?;
    let source: Option<Digest> = match annotation(SOURCE) {
        Some(text) => {
            Some(text.parse().map_err(|error| format!("has a source of `{reference}` that is none: {error}"))?)
        }
        None => None,
    };
    let named_at = annotation(NAMED_AT).and_then(|text| text.parse().ok()).unwrap_or(0);
    Ok((reference.clone(), NamedImage { reference, manifest, source, named_at }))
}

pub(super) fn write<'a>(images: impl Iterator<Item = &'a NamedImage>) -> Result<Vec<u8>, ImageStoreError> {
    let manifests = images
        .map(|NamedImage { reference, manifest, source, named_at }| {
            let mut annotations = BTreeMap::from([
                (REF_NAME.to_owned(), reference.to_string()),
                (NAMED_AT.to_owned(), named_at.to_string()),
            ]);
            annotations.extend(source.map(|source| (SOURCE.to_owned(), source.to_string())));
            Entry { manifest: manifest.clone(), annotations }
        })
        .collect();
    let index = Index { schema_version: 2, media_type: Some(MediaType::OciIndex.as_str().to_owned()), manifests };
    let text = serde_json::to_vec_pretty(&index).map_err(ImageStoreError::Index)?;
    // What could not be read again must not be written.
    if text.len() as u64 > BYTES_MAX {
        Err(ImageStoreError::IndexFull { max: Bytes::new(BYTES_MAX) })
    } else {
        Ok(text)
    }
}

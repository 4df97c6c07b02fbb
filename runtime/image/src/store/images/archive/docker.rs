//! `manifest.json` of `docker save`, which has no manifests: one is written that says the same.

use std::{collections::BTreeSet, io::Read, sync::Arc};

use bytes::Bytes as Chunk;
use dormouse_spec::Digest;
use serde::{Deserialize, Serialize};

use super::{
    ArchiveError, IMAGES_MAX,
    import::{Found, ImportedImage},
};
use crate::{
    oci::{CONFIG_BYTES_MAX, Compression, Descriptor, ImageConfig, ImageManifest, LAYERS_MAX, MediaType, Platform},
    shown::shown,
    store::images::{Images, blob::Incoming},
};

const CONFIG_MEDIA_TYPE: &str = "application/vnd.oci.image.config.v1+json";
/// Links that are followed from one file to another.
const LINKS_MAX: usize = 8;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    schema_version: u32,
    media_type: &'static str,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

pub(super) fn images(
    images: &Arc<Images>,
    found: &mut Found,
    listing: &[u8],
) -> Result<Vec<ImportedImage>, ArchiveError> {
    let listing: Vec<Entry> =
        serde_json::from_slice(listing).map_err(|error| ArchiveError::file("manifest.json", &error))?;
    if listing.len() > IMAGES_MAX {
        return Err(ArchiveError::TooMany { what: "images", max: IMAGES_MAX });
    }
    listing.into_iter().map(|entry| image(images, found, entry)).collect()
}

fn image(images: &Arc<Images>, found: &mut Found, entry: Entry) -> Result<ImportedImage, ArchiveError> {
    if entry.layers.len() > LAYERS_MAX {
        return Err(ArchiveError::TooMany { what: "layers of one image", max: LAYERS_MAX });
    }
    let config = blob(found, &entry.config)?;
    let layers = entry.layers.iter().map(|path| {
        let digest = blob(found, path)?;
        let mut beginning = Vec::new();
        images.open(&digest)?.take(4).read_to_end(&mut beginning).map_err(ArchiveError::Read)?;
        let media_type = Compression::detect(&beginning).media_type().to_owned();
        Ok(Descriptor { media_type, digest, size: size(found, &digest) })
    });
    let manifest = ImageManifest {
        config: Descriptor { media_type: CONFIG_MEDIA_TYPE.to_owned(), digest: config, size: size(found, &config) },
        layers: layers.collect::<Result<_, ArchiveError>>()?,
    };
    let config = ImageConfig::parse(&images.read(&config, CONFIG_BYTES_MAX)?, &manifest)?;
    config.check_platform(&Platform::of_this_machine())?;
    let manifest = Written {
        schema_version: 2,
        media_type: MediaType::OciManifest.as_str(),
        config: manifest.config,
        layers: manifest.layers,
    };
    let content =
        Chunk::from(serde_json::to_vec(&manifest).map_err(|error| ArchiveError::file("manifest.json", &error))?);
    let mut stored = Incoming::create(Arc::clone(images))?;
    stored.write(&content)?;
    let stored = stored.place(None)?;
    let manifest =
        Descriptor { media_type: MediaType::OciManifest.as_str().to_owned(), digest: stored.digest, size: stored.size };
    found.blobs.insert(stored.digest, stored);
    Ok(ImportedImage { names: entry.repo_tags.unwrap_or_default(), manifest, indexes: BTreeSet::new() })
}

/// The blob that a file became, through links.
fn blob(found: &Found, path: &str) -> Result<Digest, ArchiveError> {
    let mut at = path;
    for _ in 0..LINKS_MAX {
        let by_digest = at.strip_prefix("blobs/sha256/").and_then(|hex| format!("sha256:{hex}").parse().ok());
        if let Some(digest) = by_digest.filter(|digest| found.blobs.contains_key(digest)) {
            return Ok(digest);
        }
        if let Some(digest) = found.files.get(at) {
            return Ok(*digest);
        }
        match found.links.get(at) {
            Some(target) => at = target,
            None => break,
        }
    }
    Err(ArchiveError::MissingFile(shown(path)))
}

fn size(found: &Found, digest: &Digest) -> u64 {
    found.blobs.get(digest).map_or(0, |blob| blob.size)
}

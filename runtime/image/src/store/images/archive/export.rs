use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read, Write},
    os::fd::OwnedFd,
    sync::{Arc, atomic::AtomicBool},
};

use dormouse_spec::{Bytes, Digest, ImageReference};
use serde::Serialize;

use super::{ArchiveError, caller::Caller};
use crate::{
    oci::{Descriptor, Document, DocumentError, MANIFEST_BYTES_MAX, MediaType},
    store::images::{
        ImageStore, ImageStoreError, Images, LAYOUT, LAYOUT_FILE, NamedImage, StoredBlob, Verified, blocking, index,
    },
};

const FILE_MODE: u32 = 0o444;

/// What an export wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exported {
    pub images: usize,
    /// Of blobs.
    pub bytes: Bytes,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Listing {
    schema_version: u32,
    media_type: &'static str,
    manifests: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    #[serde(flatten)]
    manifest: Descriptor,
    annotations: BTreeMap<&'static str, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DockerEntry {
    config: String,
    repo_tags: Vec<String>,
    layers: Vec<String>,
}

impl ImageStore {
    /// Writes images as one tar archive: an OCI layout, with the listing of `docker save` beside it, so that
    /// `docker load`, `podman load`, `ctr image import`, `skopeo` and [`ImageStore::import`] read it. The
    /// same images give the same bytes. Where `went_away` becomes true it is given up.
    ///
    /// # Errors
    /// See [`ArchiveError`].
    pub async fn export(
        &self,
        references: &BTreeSet<ImageReference>,
        archive: OwnedFd,
        went_away: Arc<AtomicBool>,
    ) -> Result<Exported, ArchiveError> {
        let named = references.iter().map(|reference| self.named(reference)).collect::<Result<Vec<_>, _>>()?;
        let images = Arc::clone(&self.inner);
        blocking(move || write(&images, &named, Caller::new(archive, went_away))).await
    }
}

fn write(images: &Arc<Images>, named: &[NamedImage], archive: Caller) -> Result<Exported, ArchiveError> {
    let mut blobs = BTreeSet::new();
    let mut held = Vec::new();
    let (mut entries, mut docker) = (Vec::new(), Vec::new());
    for image in named {
        let content = images.read(&image.manifest.digest, MANIFEST_BYTES_MAX)?;
        let Document::Manifest(manifest) = Document::parse_as(&content, &image.manifest.media_type)? else {
            return Err(DocumentError::Nested.into());
        };
        for blob in [&image.manifest, &manifest.config].into_iter().chain(&manifest.layers) {
            let missing = || ImageStoreError::Missing { image: image.reference.familiar(), digest: blob.digest };
            held.push(images.find(blob).ok_or_else(missing)?);
            blobs.insert(blob.digest);
        }
        let name = name_of(image);
        entries.push(Entry {
            manifest: image.manifest.clone(),
            annotations: BTreeMap::from([(index::CONTAINERD_NAME, name.clone()), (index::REF_NAME, name.clone())]),
        });
        docker.push(DockerEntry {
            config: path_of(&manifest.config.digest),
            // A digest is no tag, and Docker refuses the archive for it.
            repo_tags: image
                .reference
                .tag()
                .filter(|_| image.reference.digest().is_none())
                .map(|_| name)
                .into_iter()
                .collect(),
            layers: manifest.layers.iter().map(|layer| path_of(&layer.digest)).collect(),
        });
    }
    let listing = Listing { schema_version: 2, media_type: MediaType::OciIndex.as_str(), manifests: entries };
    let written = write_archive(images, archive, &blobs, &listing, &docker);
    drop::<Vec<StoredBlob>>(held);
    if let Err(ArchiveError::Store(ImageStoreError::Rotted { digest })) = &written {
        images.discard_rotted(digest);
    }
    Ok(Exported { images: named.len(), bytes: written? })
}

/// The name in full. Where its digest is that of an index, which is not stored and not exported, it is that of the
/// manifest, so that whoever imports the archive can see that the name is right.
fn name_of(NamedImage { reference, manifest, .. }: &NamedImage) -> String {
    let (name, digest) = (reference.to_string(), reference.digest().filter(|digest| *digest != manifest.digest));
    match (digest, name.split_once('@')) {
        (Some(_), Some((without, _))) => format!("{without}@{}", manifest.digest),
        _ => name,
    }
}

fn write_archive(
    images: &Arc<Images>,
    archive: Caller,
    blobs: &BTreeSet<Digest>,
    listing: &Listing,
    docker: &[DockerEntry],
) -> Result<Bytes, ArchiveError> {
    let json =
        |document: Result<Vec<u8>, serde_json::Error>| document.map_err(|error| ArchiveError::Write(error.into()));
    let mut archive = tar::Builder::new(archive);
    append(&mut archive, LAYOUT_FILE, LAYOUT.len() as u64, LAYOUT.as_bytes())?;
    let mut bytes = 0;
    for digest in blobs {
        let blob = images.open(digest)?;
        let size = blob.metadata().map_err(ArchiveError::Read)?.len();
        let mut blob = Verified::of(blob, *digest);
        append(&mut archive, &path_of(digest), size, &mut blob)?;
        blob.finish()?;
        bytes += size;
    }
    for (path, content) in
        [("index.json", json(serde_json::to_vec(listing))?), ("manifest.json", json(serde_json::to_vec(docker))?)]
    {
        append(&mut archive, path, content.len() as u64, content.as_slice())?;
    }
    archive.into_inner().and_then(|mut given| given.flush()).map_err(ArchiveError::Write)?;
    Ok(Bytes::new(bytes))
}

fn append(archive: &mut tar::Builder<Caller>, path: &str, size: u64, content: impl Read) -> Result<(), ArchiveError> {
    let mut header = tar::Header::new_ustar();
    header.set_size(size);
    header.set_mode(FILE_MODE);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    archive.append_data(&mut header, path, content).map_err(ArchiveError::Write)
}

fn path_of(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

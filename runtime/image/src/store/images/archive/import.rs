use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io::Read,
    os::fd::OwnedFd,
    sync::{Arc, atomic::AtomicBool},
};

use dormouse_spec::{Bytes, Digest, ImageReference};
use tar::EntryType;

use super::{ArchiveError, FILES_MAX, LISTING_BYTES_MAX, caller::Caller, docker, layout, reader};
use crate::{
    oci::Descriptor,
    shown::shown,
    store::images::{ImageStore, ImageStoreError, Images, StoredBlob, blob::Incoming, blocking},
};

/// Copied at a time.
const CHUNK_BYTES: usize = 256 << 10;
/// Names of one image.
const NAMES_OF_IMAGE_MAX: usize = 64;
/// The largest size that an ordinary header can tell.
const SIZE_MAX: u64 = 0o777_7777_7777;
const INDEX: &str = "index.json";
const DOCKER_MANIFEST: &str = "manifest.json";
const BLOB: &str = "blobs/sha256/";

/// The images of an archive, in the store and without names yet.
#[derive(Debug)]
pub struct Imported {
    pub images: Vec<ImportedImage>,
    /// Keeps them there.
    pub held: Arc<Vec<StoredBlob>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportedImage {
    /// What the archive calls it.
    pub names: Vec<String>,
    pub manifest: Descriptor,
    /// Of the indexes that lead to it on this machine, as the archive has them.
    pub indexes: BTreeSet<Digest>,
}

impl ImportedImage {
    /// Its names, where they are some.
    ///
    /// # Errors
    /// Where it has none, too many, or one that is no reference or one of other content.
    pub fn references(&self) -> Result<BTreeSet<ImageReference>, ArchiveError> {
        if self.names.is_empty() {
            return Err(ArchiveError::NoName(self.manifest.digest));
        }
        if self.names.len() > NAMES_OF_IMAGE_MAX {
            return Err(ArchiveError::TooMany { what: "names of one image", max: NAMES_OF_IMAGE_MAX });
        }
        let parsed = |name: &String| {
            let reference = name.parse().map_err(|_| ArchiveError::BadName { name: shown(name) })?;
            let of_other = || ArchiveError::NameOfOther { name: shown(name), image: self.manifest.digest };
            self.may_be_called(&reference).then_some(reference).ok_or_else(of_other)
        };
        self.names.iter().map(parsed).collect()
    }

    /// The name that it is given, whatever the archive calls it.
    ///
    /// # Errors
    /// Where it is one of other content.
    pub fn called(&self, name: ImageReference) -> Result<ImageReference, ArchiveError> {
        let of_other = || ArchiveError::GivenNameOfOther { name: name.familiar(), image: self.manifest.digest };
        if self.may_be_called(&name) { Ok(name) } else { Err(of_other()) }
    }

    /// A name with a digest can only ever mean that content, whoever wrote the archive.
    fn may_be_called(&self, name: &ImageReference) -> bool {
        let is_it = |digest| digest == self.manifest.digest || self.indexes.contains(&digest);
        name.digest().is_none_or(is_it)
    }
}

/// What an archive was found to have.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) blobs: HashMap<Digest, StoredBlob>,
    /// Files that are not called by their digest, and which blob each became.
    pub(super) files: BTreeMap<String, Digest>,
    /// Links among them, as `docker save` writes layers that several images share.
    pub(super) links: BTreeMap<String, String>,
    pub(super) index: Option<Vec<u8>>,
    pub(super) docker_manifest: Option<Vec<u8>>,
}

impl ImageStore {
    /// Reads an archive to its end and stores the images for this machine that it has. `progress` is told
    /// the bytes of blobs so far, on a thread that may block. Where `went_away` becomes true it is given up.
    ///
    /// # Errors
    /// See [`ArchiveError`]; blobs that were stored before go with the next garbage.
    pub async fn import(
        &self,
        archive: OwnedFd,
        went_away: Arc<AtomicBool>,
        progress: impl FnMut(u64) + Send + 'static,
    ) -> Result<Imported, ArchiveError> {
        let images = Arc::clone(&self.inner);
        blocking(move || {
            let archive = reader::open(Caller::new(archive, went_away))?;
            let found = Walk { images: &images, progress, bytes: 0 }.walk(archive)?;
            images_of(&images, found)
        })
        .await
    }
}

fn images_of(images: &Arc<Images>, mut found: Found) -> Result<Imported, ArchiveError> {
    // A recent `docker save` writes both; the layout has the digests that the registry knows.
    let imported = match (found.index.take(), found.docker_manifest.take()) {
        (Some(index), _) => layout::images(images, &mut found, &index)?,
        (None, Some(manifest)) => docker::images(images, &mut found, &manifest)?,
        (None, None) => return Err(ArchiveError::NoImages),
    };
    if imported.is_empty() {
        return Err(ArchiveError::NoImages);
    }
    Ok(Imported { images: imported, held: Arc::new(found.blobs.into_values().collect()) })
}

struct Walk<'a, P> {
    images: &'a Arc<Images>,
    progress: P,
    bytes: u64,
}

impl<P: FnMut(u64)> Walk<'_, P> {
    fn walk(mut self, archive: Box<dyn Read>) -> Result<Found, ArchiveError> {
        let mut found = Found::default();
        let mut archive = tar::Archive::new(archive);
        // Raw: extensions, which can be of any length, are not collected for us. No name that matters here
        // is too long for an ordinary header.
        let entries = archive.entries().map_err(ArchiveError::Read)?.raw(true);
        for (count, entry) in entries.enumerate() {
            if count >= FILES_MAX {
                return Err(ArchiveError::TooMany { what: "files", max: FILES_MAX });
            }
            let mut entry =
                entry.map_err(|error| if count == 0 { ArchiveError::NoImages } else { ArchiveError::Read(error) })?;
            // Whatever it is called, and be it nothing: it is about the next one.
            if entry.header().entry_type() == EntryType::XHeader {
                check_extension(&mut entry)?;
                continue;
            }
            let Some(path) = path_of(&entry.path_bytes()) else { continue };
            match entry.header().entry_type() {
                EntryType::Regular | EntryType::Continuous => self.file(&mut found, path, &mut entry)?,
                EntryType::Symlink | EntryType::Link => {
                    let target = entry.link_name_bytes().and_then(|target| String::from_utf8(target.into_owned()).ok());
                    let is_symbolic = entry.header().entry_type() == EntryType::Symlink;
                    found
                        .links
                        .extend(target.and_then(|target| resolved(&path, &target, is_symbolic)).map(|to| (path, to)));
                }
                _ => {}
            }
        }
        Ok(found)
    }

    fn file(
        &mut self,
        found: &mut Found,
        path: String,
        entry: &mut tar::Entry<'_, impl Read>,
    ) -> Result<(), ArchiveError> {
        match path.as_str() {
            INDEX => found.index = Some(read_listing(&path, entry)?),
            DOCKER_MANIFEST => found.docker_manifest = Some(read_listing(&path, entry)?),
            path if says_nothing(path) => {}
            _ => {
                let digest = path.strip_prefix(BLOB).and_then(|hex| format!("sha256:{hex}").parse::<Digest>().ok());
                let blob = self.store(&path, digest, entry)?;
                if digest.is_none() {
                    found.files.insert(path, blob.digest);
                }
                found.blobs.insert(blob.digest, blob);
            }
        }
        Ok(())
    }

    fn store(
        &mut self,
        path: &str,
        digest: Option<Digest>,
        entry: &mut tar::Entry<'_, impl Read>,
    ) -> Result<StoredBlob, ArchiveError> {
        let size = entry.size();
        let expected = digest.map(|digest| Descriptor { media_type: String::new(), digest, size });
        self.images.store.check_free_space(Bytes::new(size))?;
        let mut blob = Incoming::create(Arc::clone(self.images))?;
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            let read = entry.read(&mut buffer).map_err(ArchiveError::Read)?;
            let chunk = buffer.get(..read).unwrap_or_default();
            if chunk.is_empty() {
                break;
            }
            blob.write(chunk)?;
            self.tell(read as u64);
        }
        if blob.bytes() != size {
            return Err(ArchiveError::file(path, &"the archive is cut off in it"));
        }
        blob.place(expected.as_ref()).map_err(|error| match error {
            // Nothing that the archive could do about.
            ImageStoreError::Store(error) => error.into(),
            wrong => ArchiveError::file(path, &wrong),
        })
    }

    fn tell(&mut self, bytes: u64) {
        self.bytes += bytes;
        (self.progress)(self.bytes);
    }
}

/// A file's path, without what does not matter; none of what is no file of an archive of images.
fn path_of(bytes: &[u8]) -> Option<String> {
    let path = std::str::from_utf8(bytes).ok()?;
    let path = path.trim_start_matches("./").trim_start_matches('/');
    (!path.is_empty() && !path.ends_with('/')).then(|| path.to_owned())
}

/// What archives have besides, and nobody needs.
fn says_nothing(path: &str) -> bool {
    matches!(path, "oci-layout" | "repositories") || path.ends_with("/VERSION") || path.ends_with("/json")
}

/// Where a link among the files leads, within the archive.
fn resolved(path: &str, target: &str, is_symbolic: bool) -> Option<String> {
    let mut parts: Vec<&str> = match path.rsplit_once('/') {
        Some((directory, _)) if is_symbolic => directory.split('/').collect(),
        _ => Vec::new(),
    };
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

fn read_listing(path: &str, entry: &mut impl Read) -> Result<Vec<u8>, ArchiveError> {
    let mut content = Vec::new();
    entry.take(LISTING_BYTES_MAX.get() + 1).read_to_end(&mut content).map_err(ArchiveError::Read)?;
    if content.len() as u64 > LISTING_BYTES_MAX.get() {
        return Err(ArchiveError::file(path, &format!("it is longer than {LISTING_BYTES_MAX}")));
    }
    Ok(content)
}

/// A size that no ordinary header can tell would be read as another one.
fn check_extension(entry: &mut tar::Entry<'_, impl Read>) -> Result<(), ArchiveError> {
    let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
    let extension = read_listing(&path, entry)?;
    for record in tar::PaxExtensions::new(&extension) {
        let record = record.map_err(ArchiveError::Read)?;
        let is_beyond =
            || record.value().ok().and_then(|size| size.parse().ok()).is_none_or(|size: u64| size > SIZE_MAX);
        if record.key_bytes() == b"size" && is_beyond() {
            let what = "it belongs to a file of 8 GiB or more, and those are not read: push the image to a registry, and pull it";
            return Err(ArchiveError::file(&path, &what));
        }
    }
    Ok(())
}

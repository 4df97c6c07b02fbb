//! Images on disk, as an OCI image layout.
//!
//! ```text
//! DATA/images/oci-layout           which layout it is
//! DATA/images/index.json           the images by name: a name is a manifest's digest
//! DATA/images/blobs/sha256/<hex>   manifests, configurations and layers, never changed again; when a manifest
//!                                  was modified is when its image was last used
//! DATA/images/.incoming-…          what is not finished
//! ```
//! A blob gets its name by one rename after its bytes reached the disk and were found to be those of its
//! digest. An image gets its name by the rename of a new index, after all its blobs. So what a killed
//! process left is unfinished, and deleted when the store is opened, or a blob that no name leads to, and
//! deleted with the garbage.

mod archive;
mod blob;
mod error;
mod garbage;
mod index;
mod names;
mod uses;
mod writer;

use std::{
    fs::File,
    io::Read,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes as Chunk;
use dormouse_spec::{Bytes, Digest};
use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags},
    io::{Errno, retry_on_intr},
};
use sha2::{Digest as _, Sha256};
use tokio::task::spawn_blocking;

pub use archive::{ArchiveError, Exported, Imported, ImportedImage};
pub use blob::StoredBlob;
pub use error::ImageStoreError;
pub use garbage::Freed;
pub use names::NamedImage;
pub use uses::LastUse;
pub use writer::BlobWriter;

use super::{DiskUse, Inner, StoreError, StoreLimits, directory};
use crate::oci::Descriptor;
use names::Names;
use uses::Uses;

const DIRECTORY: &str = "images";
const BLOBS: &str = "blobs";
const ALGORITHM: &str = "sha256";
/// Read and hashed at a time.
const VERIFIED_BYTES: usize = 256 << 10;
const LAYOUT_FILE: &str = "oci-layout";
const LAYOUT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;

/// The images of a node. Cheap to clone; all clones are one store.
#[derive(Debug, Clone)]
pub struct ImageStore {
    inner: Arc<Images>,
}

#[derive(Debug)]
struct Images {
    store: Inner,
    blobs: OwnedFd,
    blobs_path: PathBuf,
    names: Names,
    uses: Uses,
}

impl ImageStore {
    /// Opens the store in `data`, creating it where it is missing, and deletes what a killed process left
    /// half-done. An index that cannot be read is kept as it is: nothing has a name then, and nothing is
    /// named or deleted. Blocks.
    ///
    /// # Errors
    /// Where a directory cannot be made or read, or another process has it open.
    pub fn open(data: &Path, limits: StoreLimits) -> Result<Self, StoreError> {
        let store = Inner::open(data.join(DIRECTORY), limits)?;
        let blobs_path = store.path.join(BLOBS).join(ALGORITHM);
        directory::make(&store.path.join(BLOBS))?;
        directory::make(&blobs_path)?;
        let blobs = directory::open(directory::open(&store.root, BLOBS, &store.path)?, ALGORITHM, &blobs_path)?;
        let names = Names::read(&store);
        let images = Images { store, blobs, blobs_path, names, uses: Uses::default() };
        images.write_layout();
        Ok(Self { inner: Arc::new(images) })
    }

    /// What cannot be read of the index, if anything: until that is repaired no image can be named.
    #[must_use]
    pub fn damage(&self) -> Option<String> {
        self.inner.names.damage()
    }

    /// The directory of the store.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.store.path
    }

    /// A blob that is there with all its bytes, and is not deleted while the value lives.
    pub async fn find(&self, descriptor: Descriptor) -> Option<StoredBlob> {
        let images = Arc::clone(&self.inner);
        spawn_blocking(move || images.find(&descriptor)).await.ok().flatten()
    }

    /// Stores a small blob: a manifest or a configuration.
    ///
    /// # Errors
    /// See [`ImageStoreError`].
    pub async fn put(&self, content: Chunk) -> Result<StoredBlob, ImageStoreError> {
        let images = Arc::clone(&self.inner);
        blocking(move || {
            let mut blob = blob::Incoming::create(images)?;
            blob.write(&content)?;
            blob.place(None)
        })
        .await
    }

    /// Reads a small blob and sees that it is what its digest says.
    ///
    /// # Errors
    /// Where it is missing, longer than `bytes_max`, or has other bytes.
    pub async fn read(&self, digest: Digest, bytes_max: usize) -> Result<Vec<u8>, ImageStoreError> {
        let images = Arc::clone(&self.inner);
        blocking(move || images.read(&digest, bytes_max)).await
    }

    /// Reads a blob again, to see whether the disk still has what was written.
    ///
    /// # Errors
    /// Where it cannot be read, or has other bytes.
    pub async fn verify(&self, digest: Digest) -> Result<(), ImageStoreError> {
        let images = Arc::clone(&self.inner);
        blocking(move || images.verify(&digest)).await
    }

    /// Whether so much more can be stored.
    ///
    /// # Errors
    /// [`StoreError::DiskFull`].
    pub fn check_free_space(&self, needs: Bytes) -> Result<(), StoreError> {
        self.inner.store.check_free_space(needs)
    }

    /// What has to be available on the disk for so much more to be stored.
    #[must_use]
    pub fn available_for(&self, needs: Bytes) -> Bytes {
        needs.saturating_add(self.inner.store.limits.free_bytes_min)
    }

    /// Waits until what was deleted can be used again: some file systems give it back later.
    ///
    /// # Errors
    /// Where the disk fails.
    pub async fn settle(&self) -> Result<(), ImageStoreError> {
        let images = Arc::clone(&self.inner);
        blocking(move || Ok(images.store.settle()?)).await
    }

    /// How full the disk is that the store is on.
    ///
    /// # Errors
    /// Where the disk cannot be asked.
    pub async fn disk_use(&self) -> Result<DiskUse, ImageStoreError> {
        let images = Arc::clone(&self.inner);
        blocking(move || Ok(images.store.disk()?)).await
    }
}

impl Images {
    /// The files without which other tools see no layout.
    fn write_layout(&self) {
        let is_there = |name: &str| self.store.path.join(name).exists();
        let layout =
            || if is_there(LAYOUT_FILE) { Ok(()) } else { Ok(self.replace_file(LAYOUT_FILE, LAYOUT.as_bytes())?) };
        let index = || if is_there(index::FILE) { Ok(()) } else { self.change_names(|_| Ok(())) };
        if let Err(error) = layout().and_then(|()| index()).and_then(|()| Ok(self.sync()?)) {
            let error: ImageStoreError = error;
            // From a disk that cannot be written what is there is still served.
            tracing::warn!(error = &error as &dyn std::error::Error, "the image store cannot be written");
        }
    }

    /// Gives a file of the store new content by one rename, after it has reached the disk.
    fn replace_file(&self, name: &str, content: &[u8]) -> Result<(), StoreError> {
        use std::io::Write as _;
        let (unfinished, file) = blob::create_unfinished(&self.store)?;
        let path = self.store.path.join(name);
        let mut file = File::from(file);
        let written = file
            .write_all(content)
            .and_then(|()| file.sync_all())
            .map_err(|source| StoreError::io("writing", &path, source))
            .and_then(|()| {
                retry_on_intr(|| rustix::fs::renameat(&self.store.root, &unfinished, &self.store.root, name))
                    .map_err(|source| StoreError::io("replacing", &path, source))
            });
        if let Err(error) = written {
            // The error is what the caller has to know; what is left is deleted by the next start.
            let _ = rustix::fs::unlinkat(&self.store.root, &unfinished, AtFlags::empty());
            return Err(error);
        }
        Ok(())
    }

    /// Waits until the names in the store's own directory have reached the disk.
    fn sync(&self) -> Result<(), StoreError> {
        directory::sync(&self.store.root, &self.store.path)
    }

    fn find(&self, descriptor: &Descriptor) -> Option<StoredBlob> {
        let is_whole = || {
            let stat =
                retry_on_intr(|| rustix::fs::statat(&self.blobs, descriptor.digest.hex(), AtFlags::SYMLINK_NOFOLLOW));
            match stat {
                Ok(stat)
                    if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
                        && u64::try_from(stat.st_size) == Ok(descriptor.size) =>
                {
                    Ok(())
                }
                _ => Err(StoreError::io("looking for", &self.blob_path(&descriptor.digest), Errno::NOENT)),
            }
        };
        let (pin, ()) = self.store.pins.pin_after(descriptor.digest, is_whole).ok()?;
        Some(StoredBlob { digest: descriptor.digest, size: descriptor.size, _pin: pin })
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.blobs_path.join(digest.hex())
    }

    /// Opens a blob for reading.
    fn open(&self, digest: &Digest) -> Result<File, StoreError> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        retry_on_intr(|| rustix::fs::openat2(&self.blobs, digest.hex(), flags, Mode::empty(), resolve))
            .map(File::from)
            .map_err(|source| StoreError::io("opening", &self.blob_path(digest), source))
    }

    fn read(&self, digest: &Digest, bytes_max: usize) -> Result<Vec<u8>, ImageStoreError> {
        let mut content = Vec::new();
        self.open(digest)?
            .take(bytes_max as u64 + 1)
            .read_to_end(&mut content)
            .map_err(|source| StoreError::io("reading", &self.blob_path(digest), source))?;
        if content.len() > bytes_max {
            return Err(ImageStoreError::Long { digest: *digest, max: Bytes::new(bytes_max as u64) });
        }
        let found = Digest::from_sha256(Sha256::digest(&content).into());
        if found == *digest { Ok(content) } else { Err(ImageStoreError::Rotted { digest: *digest }) }
    }

    fn verify(&self, digest: &Digest) -> Result<(), ImageStoreError> {
        let mut blob = Verified::of(self.open(digest)?, *digest);
        let mut buffer = vec![0; VERIFIED_BYTES];
        let failed = |source| StoreError::io("reading", &self.blob_path(digest), source);
        while blob.read(&mut buffer).map_err(failed)? > 0 {}
        blob.finish()
    }

    /// Deletes a blob that was found to be damaged, so that the next pull fetches it, but not while somebody holds it.
    fn discard_rotted(&self, digest: &Digest) {
        // What was read once may have been the memory's fault.
        if !matches!(self.verify(digest), Err(ImageStoreError::Rotted { .. })) {
            return;
        }
        match self.store.pins.unless_pinned(digest, || self.unlink(digest)) {
            Ok(Ok(())) => tracing::warn!(blob = %digest, "a stored blob is damaged, and was deleted"),
            Ok(Err(error)) => {
                tracing::warn!(blob = %digest, error = &error as &dyn std::error::Error, "a damaged blob is kept");
            }
            Err(_) => tracing::warn!(blob = %digest, "a stored blob is damaged, and is kept while it is used"),
        }
    }

    /// Deletes a blob; one that is not there is no error.
    fn unlink(&self, digest: &Digest) -> Result<(), ImageStoreError> {
        match retry_on_intr(|| rustix::fs::unlinkat(&self.blobs, digest.hex(), AtFlags::empty())) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(source) => Err(StoreError::io("deleting", &self.blob_path(digest), source).into()),
        }
    }
}

/// A blob that is hashed while it is read.
struct Verified {
    file: File,
    hasher: Sha256,
    expected: Digest,
}

impl Verified {
    fn of(file: File, expected: Digest) -> Self {
        Self { file, hasher: Sha256::new(), expected }
    }

    /// Whether all that was read is what it was to be.
    fn finish(self) -> Result<(), ImageStoreError> {
        let found = Digest::from_sha256(self.hasher.finalize().into());
        if found == self.expected { Ok(()) } else { Err(ImageStoreError::Rotted { digest: self.expected }) }
    }
}

impl Read for Verified {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.hasher.update(buffer.get(..read).unwrap_or_default());
        Ok(read)
    }
}

/// Runs what waits for a disk where waiting harms nobody.
async fn blocking<T: Send + 'static, E: From<StoreError> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E> {
    spawn_blocking(work).await.map_err(StoreError::Task)?
}

#[cfg(test)]
mod crash;
#[cfg(test)]
mod tests;

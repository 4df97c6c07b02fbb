use std::{
    fs::File,
    io::{Seek, Write},
    os::fd::OwnedFd,
    sync::Arc,
};

use dormouse_spec::{Bytes, Digest};
use rustix::{
    fs::{AtFlags, Mode, OFlags},
    io::retry_on_intr,
};
use sha2::{Digest as _, Sha256};

use super::{ImageStoreError, Images, StoreError};
use crate::{
    oci::Descriptor,
    store::{INCOMING, Inner, pins::Pin},
};

/// For its owner and root: what is in images may be secret.
const BLOB_MODE: Mode = Mode::from_raw_mode(0o400);
/// The free space is looked at again after so many bytes: others write too.
const SPACE_CHECKED_EVERY: u64 = 1 << 20;

/// A blob that is in the store and stays there while this value lives.
#[derive(Debug)]
pub struct StoredBlob {
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    pub(super) _pin: Pin,
}

/// A blob that is being written. Dropped before it has its place, it is deleted.
#[derive(Debug)]
pub(super) struct Incoming {
    images: Arc<Images>,
    name: String,
    file: File,
    hasher: Sha256,
    bytes: u64,
    is_placed: bool,
}

impl Incoming {
    pub(super) fn create(images: Arc<Images>) -> Result<Self, StoreError> {
        let (name, file) = create_unfinished(&images.store)?;
        Ok(Self { images, name, file: file.into(), hasher: Sha256::new(), bytes: 0, is_placed: false })
    }

    /// Bytes written so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn write(&mut self, chunk: &[u8]) -> Result<(), ImageStoreError> {
        self.file.write_all(chunk).map_err(|source| self.failed("writing", source))?;
        self.hasher.update(chunk);
        let before = self.bytes;
        self.bytes += chunk.len() as u64;
        if before / SPACE_CHECKED_EVERY != self.bytes / SPACE_CHECKED_EVERY {
            self.images.store.check_free_space(Bytes::new(SPACE_CHECKED_EVERY))?;
        }
        Ok(())
    }

    /// Begins anew: whoever sends it cannot go on where it stopped.
    pub(super) fn restart(&mut self) -> Result<(), ImageStoreError> {
        self.file.set_len(0).and_then(|()| self.file.rewind()).map_err(|source| self.failed("truncating", source))?;
        self.hasher = Sha256::new();
        self.bytes = 0;
        Ok(())
    }

    /// Gives it the name of its digest, which has to be the expected one, once it has reached the disk.
    pub(super) fn place(mut self, expected: Option<&Descriptor>) -> Result<StoredBlob, ImageStoreError> {
        let digest = Digest::from_sha256(std::mem::take(&mut self.hasher).finalize().into());
        if let Some(expected) = expected {
            if self.bytes != expected.size {
                return Err(ImageStoreError::Size { expected: expected.size, found: self.bytes });
            }
            if digest != expected.digest {
                return Err(ImageStoreError::Digest { expected: expected.digest, found: digest });
            }
        }
        retry_on_intr(|| rustix::fs::fchmod(&self.file, BLOB_MODE))
            .map_err(|source| self.failed("setting the mode of", source.into()))?;
        self.file.sync_all().map_err(|source| self.failed("syncing", source))?;
        let images = Arc::clone(&self.images);
        // What has the name has these bytes too, or is damaged: either way this one may replace it.
        let named = || {
            retry_on_intr(|| rustix::fs::renameat(&images.store.root, &self.name, &images.blobs, digest.hex()))
                .map_err(|source| StoreError::io("renaming a blob to", &images.blob_path(&digest), source))
        };
        let (pin, ()) = images.store.pins.pin_after(digest, named)?;
        self.is_placed = true;
        Ok(StoredBlob { digest, size: self.bytes, _pin: pin })
    }

    fn failed(&self, operation: &'static str, source: std::io::Error) -> StoreError {
        StoreError::io(operation, &self.images.store.path.join(&self.name), source)
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if !self.is_placed {
            // What is left is deleted by the next start; the error that led here is the caller's.
            let _ = rustix::fs::unlinkat(&self.images.store.root, &self.name, AtFlags::empty());
        }
    }
}

/// Makes an empty file that the next start deletes, unless it gets another name.
pub(super) fn create_unfinished(store: &Inner) -> Result<(String, OwnedFd), StoreError> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    store.with_unique_name(INCOMING, "creating", |name| {
        retry_on_intr(|| rustix::fs::openat(&store.root, name, flags, mode))
    })
}

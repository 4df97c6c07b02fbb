use std::{collections::HashSet, sync::Arc};

use dormouse_spec::{Bytes, Digest};
use rustix::{fs::AtFlags, io::retry_on_intr};

use super::{ImageStore, ImageStoreError, Images, StoreError, blocking, directory};

/// What a collection of garbage gave back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Freed {
    pub blobs: usize,
    pub bytes: Bytes,
}

impl ImageStore {
    /// Deletes every blob that is neither in `reachable` nor held by a [`super::StoredBlob`].
    ///
    /// # Errors
    /// Where the index is damaged, since then nobody knows what is reachable, and where the disk fails;
    /// blobs that come later are then kept.
    pub async fn collect_garbage(&self, reachable: HashSet<Digest>) -> Result<Freed, ImageStoreError> {
        let images = Arc::clone(&self.inner);
        blocking(move || images.delete_all_but(&reachable)).await
    }
}

impl Images {
    fn delete_all_but(&self, reachable: &HashSet<Digest>) -> Result<Freed, ImageStoreError> {
        self.names.all()?;
        // A power cut must not bring back a name whose blobs are gone.
        self.sync()?;
        let mut freed = Freed::default();
        for name in directory::names(&self.blobs, &self.blobs_path)? {
            // What is no digest is not ours.
            let Ok(digest) = format!("sha256:{name}").parse::<Digest>() else { continue };
            if reachable.contains(&digest) {
                continue;
            }
            match self.store.pins.unless_pinned(&digest, || self.delete(&digest)) {
                Ok(bytes) => {
                    freed.blobs += 1;
                    freed.bytes = freed.bytes.saturating_add(bytes?);
                }
                Err(StoreError::Pinned { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(freed)
    }

    fn delete(&self, digest: &Digest) -> Result<Bytes, ImageStoreError> {
        let stat = retry_on_intr(|| rustix::fs::statat(&self.blobs, digest.hex(), AtFlags::SYMLINK_NOFOLLOW))
            .map_err(|source| StoreError::io("looking at", &self.blob_path(digest), source))?;
        self.unlink(digest)?;
        self.uses.forget(digest);
        Ok(Bytes::new(u64::try_from(stat.st_size).unwrap_or(0)))
    }
}

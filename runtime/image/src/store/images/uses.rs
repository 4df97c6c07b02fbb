//! When images were last used: the modification times of their manifests. They outlive the daemon, need no file of
//! their own, and what a killed process leaves of a change is the time before or the one after.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use dormouse_spec::Digest;
use rustix::{
    fs::{AtFlags, Timespec, Timestamps, UTIME_OMIT},
    io::{Errno, retry_on_intr},
};

use super::{ImageStore, ImageStoreError, Images, StoreError, StoredBlob, blocking};

/// When an image was last used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastUse {
    /// Since 1970. A later use has a later time, also where the clock was set back meanwhile.
    pub at: Duration,
    /// By a clock that nobody sets; no longer than the store has been open.
    pub ago: Duration,
}

#[derive(Debug)]
pub(super) struct Uses {
    opened: Instant,
    noted: Mutex<Noted>,
}

#[derive(Debug, Default)]
struct Noted {
    /// Of the images that are in the store, those that were used since it was opened.
    since_opened: HashMap<Digest, Instant>,
    /// The last time that was given; none before the first is.
    latest: Option<Duration>,
}

impl Default for Uses {
    fn default() -> Self {
        Self { opened: Instant::now(), noted: Mutex::default() }
    }
}

impl Uses {
    fn noted(&self) -> std::sync::MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn forget(&self, manifest: &Digest) {
        self.noted().since_opened.remove(manifest);
    }
}

impl ImageStore {
    /// Notes that the image of this manifest is used, and keeps the manifest while the value lives.
    ///
    /// # Errors
    /// Where it is not in the store, or the disk fails.
    pub async fn note_use(&self, manifest: Digest) -> Result<StoredBlob, ImageStoreError> {
        self.keep_after(manifest, Images::note_use).await
    }

    /// Keeps the manifest while the value lives.
    ///
    /// # Errors
    /// Where it is not in the store, or the disk cannot be read.
    pub async fn keep(&self, manifest: Digest) -> Result<StoredBlob, ImageStoreError> {
        self.keep_after(manifest, Images::size).await
    }

    async fn keep_after(
        &self,
        manifest: Digest,
        look: impl FnOnce(&Images, &Digest) -> Result<u64, StoreError> + Send + 'static,
    ) -> Result<StoredBlob, ImageStoreError> {
        let images = Arc::clone(&self.inner);
        blocking(move || {
            let (pin, size) = images.store.pins.pin_after(manifest, || look(&images, &manifest))?;
            Ok(StoredBlob { digest: manifest, size, _pin: pin })
        })
        .await
    }

    /// When the images of these manifests were last used; those that are not in the store are left out.
    ///
    /// # Errors
    /// Where the disk fails.
    pub async fn last_uses(&self, manifests: HashSet<Digest>) -> Result<HashMap<Digest, LastUse>, ImageStoreError> {
        let images = Arc::clone(&self.inner);
        blocking(move || {
            let mut uses = HashMap::new();
            for manifest in manifests {
                if let Some(at) = images.modified(&manifest)? {
                    uses.insert(manifest, LastUse { at, ago: images.used_ago(&manifest) });
                }
            }
            Ok(uses)
        })
        .await
    }

    /// Whether a [`StoredBlob`] of this digest lives.
    #[must_use]
    pub fn is_held(&self, digest: &Digest) -> bool {
        self.inner.store.pins.unless_pinned(digest, || ()).is_err()
    }
}

impl Images {
    /// Returns the size of the manifest.
    pub(super) fn note_use(&self, manifest: &Digest) -> Result<u64, StoreError> {
        let failed = |source| StoreError::io("noting the use of", &self.blob_path(manifest), source);
        let size = self.size(manifest)?;
        let mut noted = self.uses.noted();
        let latest = noted.latest.unwrap_or_else(|| self.latest_of_all());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at = now.max(latest.saturating_add(Duration::from_nanos(1)));
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec {
                tv_sec: i64::try_from(at.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: at.subsec_nanos().into(),
            },
        };
        retry_on_intr(|| rustix::fs::utimensat(&self.blobs, manifest.hex(), &times, AtFlags::SYMLINK_NOFOLLOW))
            .map_err(failed)?;
        noted.latest = Some(at);
        noted.since_opened.insert(*manifest, Instant::now());
        Ok(size)
    }

    fn size(&self, manifest: &Digest) -> Result<u64, StoreError> {
        let stat = retry_on_intr(|| rustix::fs::statat(&self.blobs, manifest.hex(), AtFlags::SYMLINK_NOFOLLOW));
        let stat = stat.map_err(|source| StoreError::io("looking at", &self.blob_path(manifest), source))?;
        Ok(u64::try_from(stat.st_size).unwrap_or(0))
    }

    /// A manifest that cannot be looked at has no say in it.
    fn latest_of_all(&self) -> Duration {
        let named = self.names.all().unwrap_or_default();
        let times = named.iter().filter_map(|image| self.modified(&image.manifest.digest).ok().flatten());
        times.max().unwrap_or_default()
    }

    fn modified(&self, digest: &Digest) -> Result<Option<Duration>, StoreError> {
        match retry_on_intr(|| rustix::fs::statat(&self.blobs, digest.hex(), AtFlags::SYMLINK_NOFOLLOW)) {
            // Of a time before 1970, which nobody gave it, nothing is kept.
            Ok(stat) => Ok(Some(Duration::new(
                u64::try_from(stat.st_mtime).unwrap_or(0),
                u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
            ))),
            Err(Errno::NOENT) => Ok(None),
            Err(source) => Err(StoreError::io("looking at", &self.blob_path(digest), source)),
        }
    }

    fn used_ago(&self, manifest: &Digest) -> Duration {
        self.uses.noted().since_opened.get(manifest).unwrap_or(&self.uses.opened).elapsed()
    }
}

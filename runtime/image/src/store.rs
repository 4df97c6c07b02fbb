//! Models on disk, by what is in them.
//!
//! ```text
//! DATA/models/sha256-<hex>/   one model: directories 0555, files 0444, never changed again
//! DATA/models/.incoming-…     a copy that is not finished
//! DATA/models/.removing-…     a model that is being deleted
//! DATA/prepared/…             the same for prepared models: see [`PreparedStore`]
//! ```
//! A model appears by one rename after everything in it has reached the disk, and disappears by
//! one rename before anything of it is deleted. What a killed process left in between begins with
//! a dot and is deleted when the store is opened. A store on a disk that cannot be written still
//! opens: what is in it can be served.

mod add;
mod copy;
#[cfg(test)]
mod crash;
mod directory;
mod disk;
mod error;
mod images;
mod incoming;
mod listing;
mod pins;
mod prepared;

use std::{
    collections::HashSet,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use dormouse_spec::{Bytes, Digest};
use rustix::{
    fs::{FlockOperation, Mode, OFlags, RenameFlags},
    io::{Errno, retry_on_intr},
};
use tokio::task::spawn_blocking;

pub use add::StoredModel;
pub use disk::DiskUse;
pub use error::StoreError;
pub use images::{
    ArchiveError, BlobWriter, Exported, Freed, ImageStore, ImageStoreError, Imported, ImportedImage, LastUse,
    NamedImage, StoredBlob,
};
pub use prepared::{PreparedModel, PreparedRecord, PreparedStore, Verified};

use pins::Pins;

const DIRECTORY: &str = "models";
/// Others may pass: the sandbox reads models under the ids of its containers. None may open it, who could hold its lock.
const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o711);
const INCOMING: &str = ".incoming-";
const REMOVING: &str = ".removing-";

/// What the store accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreLimits {
    /// All files of one model together.
    pub model_bytes_max: Bytes,
    /// Free space that a model must leave on the disk, so that state can still be written.
    pub free_bytes_min: Bytes,
}

impl Default for StoreLimits {
    fn default() -> Self {
        Self { model_bytes_max: Bytes::from_mebibytes(64 << 10), free_bytes_min: Bytes::from_mebibytes(64) }
    }
}

/// The models of a node. Cheap to clone; all clones are one store.
#[derive(Debug, Clone)]
pub struct ModelStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// The directory of all models, locked as long as this store is open.
    root: OwnedFd,
    path: PathBuf,
    limits: StoreLimits,
    pins: Pins,
    /// Held by the one copy that runs: several would only share the disk, and could together take
    /// more of its free space than each was promised.
    copying: Arc<tokio::sync::Mutex<()>>,
    unique: AtomicU64,
}

impl ModelStore {
    /// Opens the store in `data`, creating it where it is missing, and deletes what a killed
    /// process left half-done. Blocks.
    ///
    /// # Errors
    /// Where the directory cannot be made or read, or another process has it open.
    pub fn open(data: &Path, limits: StoreLimits) -> Result<Self, StoreError> {
        Ok(Self { inner: Arc::new(Inner::open(data.join(DIRECTORY), limits)?) })
    }

    /// Where the model of this digest is, or would be.
    #[must_use]
    pub fn path_of(&self, digest: &Digest) -> PathBuf {
        self.inner.path.join(digest.directory_name())
    }

    /// The digests of all models. Blocks for as long as reading one directory takes.
    ///
    /// # Errors
    /// Where the directory cannot be read.
    pub fn list(&self) -> Result<Vec<Digest>, StoreError> {
        self.inner.list()
    }

    /// Deletes a model; one that is not there is no error.
    ///
    /// # Errors
    /// [`StoreError::Pinned`] while a [`StoredModel`] of it lives, and where the disk fails.
    pub async fn remove(&self, digest: Digest) -> Result<(), StoreError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || inner.remove(&digest)).await
    }

    /// Deletes every model that is neither in `reachable` nor pinned by a [`StoredModel`]. Returns
    /// the digests of those deleted.
    ///
    /// # Errors
    /// Where the disk fails; models that come later are then kept.
    pub async fn collect_garbage(&self, reachable: HashSet<Digest>) -> Result<Vec<Digest>, StoreError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || inner.remove_all_but(&reachable)).await
    }
}

impl Inner {
    fn open(path: PathBuf, limits: StoreLimits) -> Result<Self, StoreError> {
        directory::make(&path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = retry_on_intr(|| rustix::fs::open(&path, flags, Mode::empty()))
            .map_err(|source| StoreError::io("opening", &path, source))?;
        retry_on_intr(|| rustix::fs::flock(&root, FlockOperation::NonBlockingLockExclusive)).map_err(|source| {
            match source {
                Errno::WOULDBLOCK => StoreError::InUse { path: path.clone() },
                source => StoreError::io("locking", &path, source),
            }
        })?;
        let inner =
            Inner { root, path, limits, pins: Pins::default(), copying: Arc::default(), unique: AtomicU64::new(0) };
        inner.set_mode()?;
        if let Err(error) = inner.sweep() {
            // It takes space and nothing else, and the models are whole.
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "unfinished work of an earlier run was not deleted"
            );
        }
        Ok(inner)
    }

    fn remove_all_but(&self, reachable: &HashSet<Digest>) -> Result<Vec<Digest>, StoreError> {
        let mut removed = Vec::new();
        for digest in self.list()?.into_iter().filter(|digest| !reachable.contains(digest)) {
            match self.remove(&digest) {
                Ok(()) => removed.push(digest),
                Err(StoreError::Pinned { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(removed)
    }

    fn set_mode(&self) -> Result<(), StoreError> {
        let failed = |source| StoreError::io("setting the mode of", &self.path, source);
        let stat = retry_on_intr(|| rustix::fs::fstat(&self.root)).map_err(failed)?;
        if Mode::from_raw_mode(stat.st_mode) == DIRECTORY_MODE {
            return Ok(());
        }
        retry_on_intr(|| rustix::fs::fchmod(&self.root, DIRECTORY_MODE)).map_err(failed)
    }

    /// Deletes what no living process works on: this one holds the lock and has begun nothing yet.
    fn sweep(&self) -> Result<(), StoreError> {
        for name in directory::names(&self.root, &self.path)? {
            if name.starts_with(INCOMING) || name.starts_with(REMOVING) {
                directory::remove_tree(&self.root, &name, &self.path)?;
            }
        }
        Ok(())
    }

    fn list(&self) -> Result<Vec<Digest>, StoreError> {
        let names = directory::names(&self.root, &self.path)?;
        Ok(names.iter().filter_map(|name| name.replacen("sha256-", "sha256:", 1).parse().ok()).collect())
    }

    fn remove(&self, digest: &Digest) -> Result<(), StoreError> {
        let name = digest.directory_name();
        // Pins are locked until the model has left its place, so that none is pinned meanwhile.
        let moved = self.pins.unless_pinned(digest, || self.move_away(&name))??;
        moved.map_or(Ok(()), |name| directory::remove_tree(&self.root, &name, &self.path))
    }

    /// Takes a model from its place by one rename; None where there is none.
    fn move_away(&self, name: &str) -> Result<Option<String>, StoreError> {
        let (removing, was_there) =
            self.with_unique_name(REMOVING, "moving a model away to", |removing| match self.rename(name, removing) {
                Ok(()) => Ok(true),
                Err(Errno::NOENT) => Ok(false),
                Err(error) => Err(error),
            })?;
        if !was_there {
            return Ok(None);
        }
        // Before anything of it is deleted: a power cut must not bring a name back without its files.
        if let Err(error) = directory::sync(&self.root, &self.path) {
            // It stays what it was, to be removed another time; where it does not, the next start does.
            let _ = self.rename(&removing, name);
            return Err(error);
        }
        Ok(Some(removing))
    }

    /// Renames within the store; what is there is not replaced.
    fn rename(&self, from: &str, to: &str) -> rustix::io::Result<()> {
        retry_on_intr(|| rustix::fs::renameat_with(&self.root, from, &self.root, to, RenameFlags::NOREPLACE))
    }

    /// Does `work` with a name that nothing in the store has, also where leftovers could not be
    /// deleted when it was opened.
    fn with_unique_name<T>(
        &self,
        prefix: &str,
        operation: &'static str,
        mut work: impl FnMut(&str) -> rustix::io::Result<T>,
    ) -> Result<(String, T), StoreError> {
        loop {
            let name = format!("{prefix}{}", self.unique.fetch_add(1, Ordering::Relaxed));
            match work(&name) {
                Err(Errno::EXIST) => {}
                Ok(done) => return Ok((name, done)),
                Err(source) => return Err(StoreError::io(operation, &self.path.join(name), source)),
            }
        }
    }
}

/// Runs what waits for a disk where waiting harms nobody.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    spawn_blocking(work).await.map_err(StoreError::Task)?
}

#[cfg(test)]
mod tests;

use std::{
    collections::HashSet,
    fs::File,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use dormouse_spec::{Bytes, Digest};
use rustix::{
    fs::{AtFlags, FileType},
    io::{Errno, retry_on_intr},
};

use super::{
    DiskUse, Inner, ModelStore, StoreError, blocking,
    copy::{FromStart, Source},
    directory,
    incoming::Incoming,
    listing::{self, StoredFile},
    pins::Pin,
};
use crate::{MODEL_FILE, MODEL_FILES_MAX, ModelFile, RelativePath};

/// A model that is in the store and cannot be removed while this value lives: hold it until what
/// is wanted has been written down.
#[derive(Debug)]
pub struct StoredModel {
    pub digest: Digest,
    /// All files together.
    pub bytes: Bytes,
    pub files: usize,
    _pin: Pin,
}

impl ModelStore {
    /// Copies a model into the store, or finds that it is there. `progress` is told the bytes
    /// copied so far and in all, at least once, on a thread that may block.
    ///
    /// Nothing of the model is in the store when this fails, except where the last step did, the sync
    /// of the directory that has its name: then, and when its future is dropped too late to give the
    /// copy up, the whole model is there until garbage is collected.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn add(
        &self,
        files: Vec<ModelFile>,
        progress: impl FnMut(Bytes, Bytes) + Send + 'static,
    ) -> Result<StoredModel, StoreError> {
        let cancel = CancelOnDrop(Arc::default());
        let cancelled = Arc::clone(&cancel.0);
        let turn = Arc::clone(&self.inner.copying).lock_owned().await;
        let inner = Arc::clone(&self.inner);
        blocking(move || {
            let stored = inner.add(files, &cancelled, progress);
            drop(turn);
            stored
        })
        .await
    }
}

/// Tells the thread that copies that nobody waits for it any more.
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Files whose names, kinds and sizes are acceptable together.
struct Accepted {
    files: Vec<(RelativePath, File, u64)>,
    bytes: Bytes,
}

impl Inner {
    fn add(
        &self,
        files: Vec<ModelFile>,
        cancelled: &AtomicBool,
        mut progress: impl FnMut(Bytes, Bytes),
    ) -> Result<StoredModel, StoreError> {
        let accepted = self.accept(files)?;
        self.check_free_space(accepted.bytes)?;
        let mut incoming = Incoming::create(self)?;
        let mut done = 0;
        progress(Bytes::new(done), accepted.bytes);
        let mut stored = Vec::with_capacity(accepted.files.len());
        for (path, file, bytes) in &accepted.files {
            let mut source = Source { path, content: &mut FromStart::of(file), bytes: *bytes };
            stored.push(incoming.add(&mut source, cancelled, |copied| {
                done += copied;
                progress(Bytes::new(done), accepted.bytes);
            })?);
        }
        incoming.seal()?;
        let digest = listing::digest(&stored);
        let keeps = |name: &str| {
            let is_whole = self.is_whole(name, &stored);
            if !is_whole {
                tracing::warn!(%digest, "a stored model is damaged and is replaced");
            }
            is_whole
        };
        let (pin, ()) = self.pins.pin_after(digest, || self.place(incoming, &digest, keeps))?;
        Ok(StoredModel { digest, bytes: accepted.bytes, files: stored.len(), _pin: pin })
    }

    fn accept(&self, files: Vec<ModelFile>) -> Result<Accepted, StoreError> {
        if files.len() > MODEL_FILES_MAX {
            return Err(StoreError::TooManyFiles { count: files.len() });
        }
        check_names(&files)?;
        let mut accepted = Vec::with_capacity(files.len());
        let mut sum = Bytes::new(0);
        for ModelFile { path, file } in files {
            let stat = retry_on_intr(|| rustix::fs::fstat(&file))
                .map_err(|source| StoreError::io("asking for the size of the given", path.as_path(), source))?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                return Err(StoreError::NotRegular { path });
            }
            let bytes = u64::try_from(stat.st_size).unwrap_or(0);
            sum = sum.saturating_add(Bytes::new(bytes));
            accepted.push((path, File::from(file), bytes));
        }
        let max = self.limits.model_bytes_max;
        if sum > max {
            Err(StoreError::TooLarge { bytes: sum, max })
        } else {
            Ok(Accepted { files: accepted, bytes: sum })
        }
    }

    pub(super) fn check_free_space(&self, needs: Bytes) -> Result<(), StoreError> {
        let free = self.disk()?.available.saturating_sub(self.limits.free_bytes_min);
        if needs > free { Err(StoreError::DiskFull { path: self.path.clone(), needs, free }) } else { Ok(()) }
    }

    pub(super) fn settle(&self) -> Result<(), StoreError> {
        retry_on_intr(|| rustix::fs::syncfs(&self.root))
            .map_err(|source| StoreError::io("syncing the disk of", &self.path, source))
    }

    pub(super) fn disk(&self) -> Result<DiskUse, StoreError> {
        DiskUse::of(&self.root).map_err(|source| StoreError::io("asking for the free space of", &self.path, source))
    }

    /// Gives a complete copy its place, or drops it where what has the place already is kept.
    pub(super) fn place(
        &self,
        incoming: Incoming<'_>,
        digest: &Digest,
        keeps: impl FnOnce(&str) -> bool,
    ) -> Result<(), StoreError> {
        let name = digest.directory_name();
        if !self.take_place(&incoming, &name)? {
            if keeps(&name) {
                return Ok(());
            }
            if let Some(replaced) = self.move_away(&name)? {
                directory::remove_tree(&self.root, &replaced, &self.path)?;
            }
            self.take_place(&incoming, &name)?;
        }
        incoming.taken();
        directory::sync(&self.root, &self.path)
    }

    /// False where the place is taken.
    fn take_place(&self, incoming: &Incoming<'_>, name: &str) -> Result<bool, StoreError> {
        match self.rename(incoming.name(), name) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(source) => Err(StoreError::io("renaming a copy to", &self.path.join(name), source)),
        }
    }

    /// Whether a stored model has all its files at their full lengths. Nobody writes to them, so
    /// their content is not hashed again.
    fn is_whole(&self, name: &str, files: &[StoredFile]) -> bool {
        files.iter().all(|file| {
            let path = Path::new(name).join(file.path.as_path());
            retry_on_intr(|| rustix::fs::statat(&self.root, &path, AtFlags::SYMLINK_NOFOLLOW)).is_ok_and(|stat| {
                FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
                    && u64::try_from(stat.st_size) == Ok(file.bytes)
            })
        })
    }
}

/// Checks that one file is the graph and that no two need the same name.
fn check_names(files: &[ModelFile]) -> Result<(), StoreError> {
    let mut names = HashSet::new();
    for ModelFile { path, .. } in files {
        if !names.insert(path.as_str()) {
            return Err(StoreError::Twice { path: path.clone() });
        }
    }
    for ModelFile { path, .. } in files {
        if path.directories().any(|directory| names.contains(directory)) {
            return Err(StoreError::Twice { path: path.clone() });
        }
    }
    if names.contains(MODEL_FILE) { Ok(()) } else { Err(StoreError::NoModelFile) }
}

use std::{
    collections::BTreeSet,
    fs::File,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

use rustix::{
    fs::{Mode, OFlags, ResolveFlags},
    io::{Errno, retry_on_intr},
};

use super::{
    INCOMING, Inner, StoreError,
    copy::{Source, copy},
    directory,
    listing::StoredFile,
};
use crate::RelativePath;

const OWNER_ONLY: Mode = Mode::RWXU;
const FILE_MODE: Mode = Mode::from_raw_mode(0o444);
const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o555);

/// A directory that a model is copied into. Unless it is taken to its place, it is deleted with
/// everything in it when dropped.
pub(super) struct Incoming<'a> {
    store: &'a Inner,
    name: String,
    path: PathBuf,
    root: OwnedFd,
    directories: BTreeSet<String>,
    taken: bool,
}

impl<'a> Incoming<'a> {
    pub(super) fn create(store: &'a Inner) -> Result<Self, StoreError> {
        let (name, ()) = store.with_unique_name(INCOMING, "creating", |name| {
            retry_on_intr(|| rustix::fs::mkdirat(&store.root, name, OWNER_ONLY))
        })?;
        let path = store.path.join(&name);
        match directory::open(&store.root, &name, &store.path) {
            Ok(root) => Ok(Self { store, name, path, root, directories: BTreeSet::new(), taken: false }),
            Err(error) => {
                // Where it stays, the next start deletes it.
                let _ = directory::remove_tree(&store.root, &name, &store.path);
                Err(error)
            }
        }
    }

    /// Copies one file to its path beneath this directory.
    pub(super) fn add(
        &mut self,
        source: &mut Source<'_>,
        cancelled: &AtomicBool,
        copied: impl FnMut(u64),
    ) -> Result<StoredFile, StoreError> {
        self.create_directories(source.path)?;
        let name = source.path;
        let path = self.path.join(name.as_path());
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = retry_on_intr(|| rustix::fs::openat2(&self.root, name.as_path(), flags, mode, resolve))
            .map_err(|source| StoreError::io("creating", &path, source))?;
        let mut file = File::from(file);
        let stored = copy(source, &mut file, &path, cancelled, copied)?;
        retry_on_intr(|| rustix::fs::fchmod(&file, FILE_MODE))
            .map_err(|source| StoreError::io("setting the mode of", &path, source))?;
        file.sync_all().map_err(|source| StoreError::io("syncing", &path, source))?;
        Ok(stored)
    }

    fn create_directories(&mut self, path: &RelativePath) -> Result<(), StoreError> {
        for name in path.directories().filter(|name| !self.directories.contains(*name)).collect::<Vec<_>>() {
            match retry_on_intr(|| rustix::fs::mkdirat(&self.root, name, OWNER_ONLY)) {
                Ok(()) | Err(Errno::EXIST) => self.directories.insert(name.to_owned()),
                Err(source) => return Err(StoreError::io("creating", &self.path.join(name), source)),
            };
        }
        Ok(())
    }

    /// Takes the write permission from all directories and waits until they are on the disk, those
    /// within others first.
    pub(super) fn seal(&self) -> Result<(), StoreError> {
        for name in self.directories.iter().rev() {
            seal_directory(&directory::open(&self.root, name, &self.path)?, &self.path.join(name))?;
        }
        seal_directory(&self.root, &self.path)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The directory has its place in the store and is no longer deleted.
    pub(super) fn taken(mut self) {
        self.taken = true;
    }
}

fn seal_directory(directory: &OwnedFd, path: &Path) -> Result<(), StoreError> {
    retry_on_intr(|| rustix::fs::fchmod(directory, DIRECTORY_MODE))
        .map_err(|source| StoreError::io("setting the mode of", path, source))?;
    directory::sync(directory, path)
}

impl Drop for Incoming<'_> {
    fn drop(&mut self) {
        if self.taken {
            return;
        }
        // The error that led here is the caller's; this one only means that the next start deletes.
        if let Err(error) = directory::remove_tree(&self.store.root, &self.name, &self.store.path) {
            tracing::warn!(path = %self.path.display(), error = &error as &dyn std::error::Error, "a copy was left behind");
        }
    }
}

//! Directories by descriptor: every name is resolved beneath one that is open already.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};

use super::StoreError;

const OWNER_ALL: Mode = Mode::RWXU;

/// The names in a directory, without `.` and `..`. Names that are not UTF-8 are not ours.
pub(super) fn names(directory: impl AsFd, path: &Path) -> Result<Vec<String>, StoreError> {
    let failed = |source| StoreError::io("reading the directory", path, source);
    let mut names = Vec::new();
    for entry in Dir::read_from(directory).map_err(failed)? {
        match entry.map_err(failed)?.file_name().to_str() {
            Ok("." | "..") | Err(_) => {}
            Ok(name) => names.push(name.to_owned()),
        }
    }
    Ok(names)
}

/// Opens a directory by its name; a symbolic link is refused.
pub(super) fn open(parent: impl AsFd, name: &str, path: &Path) -> Result<OwnedFd, StoreError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
        .map_err(|source| StoreError::io("opening", &path.join(name), source))
}

/// Waits until the names in a directory have reached the disk.
pub(super) fn sync(directory: impl AsFd, path: &Path) -> Result<(), StoreError> {
    rustix::fs::fsync(directory).map_err(|source| StoreError::io("syncing", path, source))
}

/// Deletes a directory and everything in it, symbolic links by their names. `path` is that of
/// `parent`, for errors.
pub(super) fn remove_tree(parent: impl AsFd, name: &str, path: &Path) -> Result<(), StoreError> {
    let path = path.join(name);
    let failed = |source| StoreError::io("deleting", &path, source);
    let stat = rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return rustix::fs::unlinkat(parent, name, AtFlags::empty()).map_err(failed);
    }
    let directory = open(&parent, name, path.parent().unwrap_or(&path))?;
    // Stored directories may not be written to, not even by their owner.
    rustix::fs::fchmod(&directory, OWNER_ALL).map_err(failed)?;
    for name in names(&directory, &path)? {
        remove_tree(&directory, &name, &path)?;
    }
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR).map_err(failed)
}

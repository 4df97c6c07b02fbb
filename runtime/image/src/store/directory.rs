//! Directories by descriptor: every name is resolved beneath one that is open already.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags},
    io::{Errno, retry_on_intr},
};

use super::StoreError;

const OWNER_ALL: Mode = Mode::RWXU;

/// The names in a directory, without `.` and `..`. Names that are not UTF-8 are not ours.
pub(super) fn names(directory: impl AsFd, path: &Path) -> Result<Vec<String>, StoreError> {
    retry_on_intr(|| read_names(&directory)).map_err(|source| StoreError::io("reading the directory", path, source))
}

fn read_names(directory: impl AsFd) -> rustix::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        match entry?.file_name().to_str() {
            Ok("." | "..") | Err(_) => {}
            Ok(name) => names.push(name.to_owned()),
        }
    }
    Ok(names)
}

/// Makes a directory where it is missing, so that it is still there after a power cut.
pub(super) fn make(path: &Path) -> Result<(), StoreError> {
    if path.is_dir() {
        return Ok(());
    }
    retry_on_intr(|| std::fs::create_dir_all(path).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO)))
        .map_err(|source| StoreError::io("creating", path, source))?;
    let parent = path.parent().unwrap_or(path);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = retry_on_intr(|| rustix::fs::open(parent, flags, Mode::empty()))
        .map_err(|source| StoreError::io("opening", parent, source))?;
    sync(opened, parent)
}

/// Opens a directory by its name; a symbolic link is refused.
pub(super) fn open(parent: impl AsFd, name: &str, path: &Path) -> Result<OwnedFd, StoreError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    retry_on_intr(|| rustix::fs::openat(&parent, name, flags, Mode::empty()))
        .map_err(|source| StoreError::io("opening", &path.join(name), source))
}

/// Waits until the names in a directory have reached the disk.
pub(super) fn sync(directory: impl AsFd, path: &Path) -> Result<(), StoreError> {
    retry_on_intr(|| rustix::fs::fsync(&directory)).map_err(|source| StoreError::io("syncing", path, source))
}

/// Deletes a directory and everything in it, symbolic links by their names. `path` is that of
/// `parent`, for errors.
pub(super) fn remove_tree(parent: impl AsFd, name: &str, path: &Path) -> Result<(), StoreError> {
    let path = path.join(name);
    let failed = |source| StoreError::io("deleting", &path, source);
    let stat = retry_on_intr(|| rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)).map_err(failed)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return retry_on_intr(|| rustix::fs::unlinkat(&parent, name, AtFlags::empty())).map_err(failed);
    }
    let directory = open(&parent, name, path.parent().unwrap_or(&path))?;
    // Stored directories may not be written to, not even by their owner.
    retry_on_intr(|| rustix::fs::fchmod(&directory, OWNER_ALL)).map_err(failed)?;
    for name in names(&directory, &path)? {
        remove_tree(&directory, &name, &path)?;
    }
    retry_on_intr(|| rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR)).map_err(failed)
}

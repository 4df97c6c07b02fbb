//! Opening a stored model for a worker: by descriptor, beneath its store, and nothing but a file.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use dormouse_spec::Digest;
use rustix::{
    fs::{FileType, Mode, OFlags, ResolveFlags, Stat},
    io::retry_on_intr,
};

/// What an optimised model is called in its directory.
pub(crate) const PREPARED: &str = "model.ort";
/// What a model is called as it was deployed; external data lies beside it.
pub(crate) const ORIGINAL: &str = "model.onnx";
/// Where blobs are in the store of images; their names are their digests in hex.
const BLOBS: &str = "blobs/sha256";
/// A directory is looked through no further: one with more than this has more than a model.
const ENTRIES_LOOKED_AT: usize = 4;

const BENEATH: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// Why a stored model is not handed out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoredError {
    #[error("opening `{}` failed", path.display())]
    Open {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{}` is no regular file", path.display())]
    NotRegular { path: PathBuf },
    #[error("`{}` belongs to user {found}, and not to user {expected}, whose store it is in", path.display())]
    NotTheStores { path: PathBuf, found: u32, expected: u32 },
}

/// Opens a file of the directory of this name for reading. The node owns what is in the store and could
/// put anything there: no link is followed, nothing is waited for, and only a file is taken. What is
/// opened here is opened by root, so it has to be the node's own as well: a second name of somebody
/// else's file would be one that the node itself may not read.
pub(crate) fn open(store: &Path, name: &Digest, file: &'static str) -> Result<OwnedFd, StoredError> {
    open_beneath(store, &Path::new(&name.directory_name()).join(file), None)
}

/// The same of a blob in the store of images. Of that the node may exchange all but the store's own name, and
/// so whose it has to be is not read from there.
pub(crate) fn open_blob(images: &Path, name: &Digest, node: u32) -> Result<OwnedFd, StoredError> {
    open_beneath(images, &Path::new(BLOBS).join(name.hex()), Some(node))
}

/// The same of contents of volumes.
pub(crate) fn open_config(configs: &Path, name: &Digest) -> Result<OwnedFd, StoredError> {
    open_beneath(configs, Path::new(&name.directory_name()), None)
}

/// Where no owner is said, it is the store's.
fn open_beneath(store: &Path, below: &Path, owner: Option<u32>) -> Result<OwnedFd, StoredError> {
    let path = store.join(below);
    let failed = |source: rustix::io::Errno| StoredError::Open { path: path.clone(), source: source.into() };
    #[cfg(weakened)]
    if !crate::defence::Defence::FilesAreTheStores.stands() {
        return crate::defence::weakened::opened_by_path(&path).map_err(failed);
    }
    let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let root = retry_on_intr(|| rustix::fs::open(store, directory, Mode::empty())).map_err(failed)?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file =
        retry_on_intr(|| rustix::fs::openat2(root.as_fd(), below, flags, Mode::empty(), BENEATH)).map_err(failed)?;
    let owner = match owner {
        Some(owner) => owner,
        None => rustix::fs::fstat(&root).map_err(failed)?.st_uid,
    };
    let stat = rustix::fs::fstat(&file).map_err(failed)?;
    check(path.clone(), &stat, owner)?;
    Ok(file)
}

/// Whether the directory of this name holds nothing but the original: it needs no other file beside it.
pub(crate) fn is_one_file(store: &Path, name: &Digest) -> io::Result<bool> {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let root = rustix::fs::open(store, flags | OFlags::PATH, Mode::empty())?;
    let directory = rustix::fs::openat2(&root, name.directory_name(), flags, Mode::empty(), BENEATH)?;
    for entry in rustix::fs::Dir::read_from(directory)?.take(ENTRIES_LOOKED_AT) {
        if ![b".".as_slice(), b"..", ORIGINAL.as_bytes()].contains(&entry?.file_name().to_bytes()) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn check(path: PathBuf, stat: &Stat, owner: u32) -> Result<(), StoredError> {
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(StoredError::NotRegular { path });
    }
    if stat.st_uid != owner {
        return Err(StoredError::NotTheStores { path, found: stat.st_uid, expected: owner });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::{fs, io::Read, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn only_a_file_beneath_the_store_is_opened() {
        let place = tempfile::tempdir().unwrap();
        let store = place.path().join("prepared");
        let name = |byte| Digest::from_sha256([byte; 32]);
        let directory = |byte| store.join(name(byte).directory_name());
        for byte in 1..=4 {
            fs::create_dir_all(directory(byte)).unwrap();
        }
        fs::write(directory(1).join(PREPARED), "optimised").unwrap();
        fs::write(place.path().join("secret"), "secret").unwrap();
        symlink(place.path().join("secret"), directory(2).join(PREPARED)).unwrap();
        fs::create_dir(directory(3).join(PREPARED)).unwrap();
        let fifo = directory(4).join(PREPARED);
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRUSR).unwrap();
        symlink(directory(1), directory(5)).unwrap();

        let mut text = String::new();
        fs::File::from(open(&store, &name(1), PREPARED).unwrap()).read_to_string(&mut text).unwrap();
        assert_eq!(text, "optimised");
        for byte in 2..=6 {
            assert!(open(&store, &name(byte), PREPARED).is_err(), "{byte}");
        }
    }

    #[test]
    fn a_blob_is_reached_by_no_link() {
        let place = tempfile::tempdir().unwrap();
        let (images, elsewhere) = (place.path().join("images"), place.path().join("elsewhere"));
        let name = Digest::from_sha256([1; 32]);
        for store in [images.join(BLOBS), elsewhere.join("sha256")] {
            fs::create_dir_all(&store).unwrap();
            fs::write(store.join(name.hex()), "blob").unwrap();
        }
        let us = nix::unistd::geteuid().as_raw();
        assert!(open_blob(&images, &name, us).is_ok());
        assert!(matches!(open_blob(&images, &name, us + 1), Err(StoredError::NotTheStores { .. })));
        fs::rename(images.join("blobs"), images.join("aside")).unwrap();
        symlink(&elsewhere, images.join("blobs")).unwrap();
        assert!(matches!(open_blob(&images, &name, us), Err(StoredError::Open { .. })));
    }

    #[test]
    fn a_file_of_another_user_is_refused() {
        let file = tempfile::tempfile().unwrap();
        let stat = rustix::fs::fstat(&file).unwrap();
        assert!(check("x".into(), &stat, stat.st_uid).is_ok());
        let error = check("x".into(), &stat, stat.st_uid + 1).unwrap_err();
        assert!(matches!(error, StoredError::NotTheStores { .. }), "{error}");
    }

    #[test]
    fn a_model_with_data_beside_it_is_more_than_one_file() {
        let store = tempfile::tempdir().unwrap();
        let name = Digest::from_sha256([1; 32]);
        let directory = store.path().join(name.directory_name());
        assert!(is_one_file(store.path(), &name).is_err());
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join(ORIGINAL), "model").unwrap();
        assert!(is_one_file(store.path(), &name).unwrap());
        fs::write(directory.join("weights"), "data").unwrap();
        assert!(!is_one_file(store.path(), &name).unwrap());
    }
}

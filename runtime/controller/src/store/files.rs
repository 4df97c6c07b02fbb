//! Files that a crash, a full disk or a power cut leave as they were or as they were to be.
//!
//! A name changes its meaning by one rename, after what it is to mean has reached the disk. What
//! fails before that rename has changed nothing; what fails after it, the sync of the directory, is
//! taken back, so that nobody is told of a failure that the next start contradicts.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use super::{StoreError, failed};

const NEW: &str = ".new";
const OLD: &str = ".old";

/// Writes beside the file, makes that durable, and only then lets it take the file's place.
pub(super) fn replace(directory: &Path, path: &Path, text: &[u8]) -> Result<(), StoreError> {
    // Whatever may be short is asked for before the file has changed.
    let names = open(directory)?;
    let before = match retried(|| fs::read(path)) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(source) => return Err(failed("reading", path, source)),
    };
    put(path, text)?;
    sync(&names, directory).map_err(|failure| {
        let put_back = match before {
            Some(before) => put(path, &before),
            None => retried(|| fs::remove_file(path)).map_err(|source| failed("removing", path, source)),
        };
        settle(failure, put_back)
    })
}

/// Takes the file from its name, makes that durable, and only then deletes it.
pub(super) fn remove(directory: &Path, path: &Path) -> Result<(), StoreError> {
    let names = open(directory)?;
    let old = with_suffix(path, OLD);
    match retried(|| fs::rename(path, &old)) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(failed("removing", path, source)),
    }
    sync(&names, directory).map_err(|failure| {
        let put_back = retried(|| fs::rename(&old, path)).map_err(|source| failed("putting back", path, source));
        settle(failure, put_back)
    })?;
    // It is no endpoint any more; the next start removes it where this does not.
    let _ = retried(|| fs::remove_file(&old));
    Ok(())
}

/// Makes the directory where it is missing, so that it is still there after a power cut.
pub(super) fn make_directory(directory: &Path) -> Result<(), StoreError> {
    if directory.is_dir() {
        return Ok(());
    }
    retried(|| fs::create_dir_all(directory)).map_err(|source| failed("making", directory, source))?;
    let parent = directory.parent().unwrap_or(directory);
    sync(&open(parent)?, parent)
}

/// Removes what interrupted work left. Only for one who works alone.
pub(super) fn sweep(directory: &Path) -> Result<(), StoreError> {
    for name in names(directory)?.iter().filter(|name| name.ends_with(NEW) || name.ends_with(OLD)) {
        let path = directory.join(name);
        retried(|| fs::remove_file(&path)).map_err(|source| failed("removing", &path, source))?;
    }
    Ok(())
}

/// The names in a directory. Those that are not UTF-8 are not ours.
pub(super) fn names(directory: &Path) -> Result<Vec<String>, StoreError> {
    let read = || fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name().into_string())).collect();
    let names: Vec<_> = retried(read).map_err(|source| failed("reading", directory, source))?;
    Ok(names.into_iter().filter_map(Result::ok).collect())
}

/// Calls again where a signal, or a file system that a signal concerned, interrupted the call.
pub(super) fn retried<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

fn put(path: &Path, text: &[u8]) -> Result<(), StoreError> {
    let new = with_suffix(path, NEW);
    let write = || {
        let mut file = retried(|| File::create(&new))?;
        file.write_all(text)?;
        retried(|| file.sync_all())
    };
    let put = write()
        .map_err(|source| failed("writing", &new, source))
        .and_then(|()| retried(|| fs::rename(&new, path)).map_err(|source| failed("replacing", path, source)));
    if put.is_err() {
        // A full disk needs its space back. The failure is told already.
        let _ = fs::remove_file(&new);
    }
    put
}

fn open(directory: &Path) -> Result<File, StoreError> {
    retried(|| File::open(directory)).map_err(|source| failed("opening", directory, source))
}

fn sync(names: &File, directory: &Path) -> Result<(), StoreError> {
    retried(|| names.sync_all()).map_err(|source| failed("syncing", directory, source))
}

/// What to tell of a change that failed too late and was taken back, or was to be.
fn settle(failure: StoreError, put_back: Result<(), StoreError>) -> StoreError {
    match put_back {
        Ok(()) => failure,
        Err(put_back) => StoreError::Unsettled { failure: Box::new(failure), put_back: Box::new(put_back) },
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

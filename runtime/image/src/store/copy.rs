use std::{
    fs::File,
    io::{self, Read, Write},
    os::unix::fs::FileExt,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use rustix::fs::Advice;
use sha2::{Digest as _, Sha256};

use super::{StoreError, listing::StoredFile};
use crate::RelativePath;

/// Read, hashed and written at a time; also how often progress is told and a cancel is heard. Small:
/// the allocator keeps one such buffer for each thread that ever copied.
const CHUNK_BYTES: usize = 64 << 10;

/// One file to copy.
pub(super) struct Source<'a> {
    pub(super) path: &'a RelativePath,
    pub(super) content: &'a mut dyn Read,
    /// Its length when the copy was accepted.
    pub(super) bytes: u64,
}

/// Reads a file from its start, at an offset of its own: whoever handed in the descriptor may share
/// and move its.
pub(super) struct FromStart<'a> {
    file: &'a File,
    at: u64,
}

impl<'a> FromStart<'a> {
    pub(super) fn of(file: &'a File) -> Self {
        Self { file, at: 0 }
    }
}

impl Read for FromStart<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// Copies all of `source` into `target`, which is empty, waits until it is on the disk and reads it
/// back to see that it is what was read from the source. `target_path` is for errors.
pub(super) fn copy(
    source: &mut Source<'_>,
    target: &mut File,
    target_path: &Path,
    cancelled: &AtomicBool,
    mut copied: impl FnMut(u64),
) -> Result<StoredFile, StoreError> {
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut hasher = Sha256::new();
    let mut at = 0;
    loop {
        if cancelled.load(Ordering::Relaxed) {
            return Err(StoreError::Cancelled);
        }
        let read = retried(|| source.content.read(&mut buffer))
            .map_err(|error| StoreError::io("reading the given", source.path.as_path(), error))?;
        let chunk = buffer.get(..read).unwrap_or_default();
        at += chunk.len() as u64;
        // A file that grows under us could otherwise go past the limits it was accepted under.
        if at > source.bytes || (chunk.is_empty() && at < source.bytes) {
            return Err(StoreError::Changed { path: source.path.clone(), expected: source.bytes, found: at });
        }
        if chunk.is_empty() {
            break;
        }
        hasher.update(chunk);
        target.write_all(chunk).map_err(|error| StoreError::io("writing", target_path, error))?;
        copied(chunk.len() as u64);
    }
    let sha256: [u8; 32] = hasher.finalize().into();
    target.sync_all().map_err(|error| StoreError::io("syncing", target_path, error))?;
    if read_back(target, target_path, cancelled, &mut buffer)? != sha256 {
        return Err(StoreError::Corrupted { path: source.path.clone() });
    }
    Ok(StoredFile { path: source.path.clone(), sha256, bytes: at })
}

/// The sha256 of what the disk has, as far as the kernel can be made to ask it again.
fn read_back(target: &File, path: &Path, cancelled: &AtomicBool, buffer: &mut [u8]) -> Result<[u8; 32], StoreError> {
    // Only advice: where it is not taken, the copy in memory is checked.
    let _ = rustix::fs::fadvise(target, 0, None, Advice::DontNeed);
    let mut hasher = Sha256::new();
    let mut written = FromStart::of(target);
    loop {
        if cancelled.load(Ordering::Relaxed) {
            return Err(StoreError::Cancelled);
        }
        let read = retried(|| written.read(buffer)).map_err(|error| StoreError::io("reading back", path, error))?;
        if read == 0 {
            return Ok(hasher.finalize().into());
        }
        hasher.update(buffer.get(..read).unwrap_or_default());
    }
}

fn retried(mut read: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match read() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn copy_into(target: &mut File) -> Result<StoredFile, StoreError> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"abc").unwrap();
        let path = "w.bin".parse().unwrap();
        let mut source = Source { path: &path, content: &mut FromStart::of(&file), bytes: 3 };
        copy(&mut source, target, Path::new("target"), &AtomicBool::new(false), |_| {})
    }

    #[test]
    fn what_was_written_is_what_is_told() {
        let stored = copy_into(&mut tempfile::tempfile().unwrap()).unwrap();
        assert_eq!((stored.bytes, stored.sha256), (3, Sha256::digest(b"abc").into()));
    }

    #[test]
    fn other_bytes_on_the_disk_are_noticed() {
        let mut target = tempfile::tempfile().unwrap();
        target.write_all_at(b"abcd", 0).unwrap();
        assert!(matches!(copy_into(&mut target), Err(StoreError::Corrupted { .. })));
    }
}

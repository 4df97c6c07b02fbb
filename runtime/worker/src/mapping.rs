//! One of the two modules of the worker with `unsafe`: a file as bytes in memory, for as long as the process lives.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::AsFd;
use std::ptr;

use rustix::fs::FileType;
use rustix::mm::{MapFlags, ProtFlags, mmap};

/// Maps a whole file read-only. It stays mapped until the process ends, since a session uses the bytes in place and a
/// worker serves one model for all of its life.
///
/// The caller sees to it that the file does not change: a prepared model is written once, under another name, and is
/// never opened for writing again. Its owner could still cut it off, and the next look at a page that is gone would
/// kill this process with SIGBUS: it ends one replica, of an endpoint whose files the owner could delete as well.
///
/// # Errors
/// What is no regular file, or empty, or larger than memory can address, and where the kernel maps nothing.
pub(crate) fn map_forever(file: impl AsFd) -> io::Result<&'static [u8]> {
    let stat = rustix::fs::fstat(&file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(io::Error::other("it is no regular file"));
    }
    let length = usize::try_from(stat.st_size).map_err(io::Error::other)?;
    if length == 0 {
        return Err(io::Error::other("it is empty"));
    }
    // SAFETY: the kernel chooses the address, so nothing of this process is replaced.
    let start = unsafe { mmap(ptr::null_mut(), length, ProtFlags::READ, MapFlags::PRIVATE, file, 0)? };
    // SAFETY: `start` is page-aligned and the first of `length` readable bytes, of which a length that came from a file
    // on Linux is at most `isize::MAX`. Nothing unmaps them, and nobody changes the file: see above.
    Ok(unsafe { std::slice::from_raw_parts(start.cast(), length) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Write;

    use super::*;

    #[test]
    fn a_file_is_its_bytes() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"weights").unwrap();
        let bytes = map_forever(&file).unwrap();
        drop(file);
        assert_eq!(bytes, b"weights");
    }

    #[test]
    fn what_has_no_bytes_to_map_is_refused() {
        assert!(map_forever(tempfile::tempfile().unwrap()).unwrap_err().to_string().contains("empty"));
        let (reading, _writing) = io::pipe().unwrap();
        assert!(map_forever(reading).unwrap_err().to_string().contains("regular"));
    }
}

//! One of the two modules of the worker with `unsafe`: files as bytes in memory, for as long as the process lives.
#![allow(unsafe_code)]

use std::io;
use std::ops::Range;
use std::os::fd::AsFd;
use std::ptr;

use rustix::fs::FileType;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap};

/// One line for each mapping of this process.
const MAPPINGS: &str = "/proc/self/maps";

/// Larger files are not mapped ahead: what of them is needed is better found out by needing it.
const AHEAD_BYTES_MAX: usize = 64 << 20;

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

/// Where files are mapped in this process and not to be written: programs, their constants, a model.
#[derive(Debug)]
pub(crate) struct FileMappings(Vec<Range<usize>>);

impl FileMappings {
    pub(crate) fn of_this_process() -> io::Result<Self> {
        Ok(Self(std::fs::read_to_string(MAPPINGS)?.lines().filter_map(of_file).collect()))
    }

    /// Has the kernel map their pages now. A fork has none of them, and would be interrupted for every few.
    pub(crate) fn map_pages(&self) {
        for range in &self.0 {
            let start = ptr::with_exposed_provenance_mut(range.start);
            // SAFETY: nothing that can be read there changes by this, whatever is mapped there by now.
            // An old kernel does not know it, and then all is as it would be without.
            let _ = unsafe { madvise(start, range.len(), Advice::LinuxPopulateRead) };
        }
    }
}

/// `55d0c0e00000-55d0c0e8f000 r-xp 00000000 fe:01 1234   /usr/bin/dormouse`
fn of_file(line: &str) -> Option<Range<usize>> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let [permissions, _, _, inode] = [(); 4].map(|()| fields.next());
    let is_of_file = matches!(permissions?, "r--p" | "r-xp") && inode? != "0";
    let address = |text| usize::from_str_radix(text, 16).ok();
    let range = address(start)?..address(end)?;
    (is_of_file && range.len() <= AHEAD_BYTES_MAX).then_some(range)
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
    fn what_is_mapped_of_files_and_not_written_is_found() {
        let mappings = FileMappings::of_this_process().unwrap();
        let code = what_has_no_bytes_to_map_is_refused as *const () as usize;
        assert!(mappings.0.iter().any(|range| range.contains(&code)));
        mappings.map_pages();
        let of = |rest: &str| of_file(&format!("1000-3000 {rest}"));
        assert_eq!(of("r-xp 00000000 fe:01 12 /bin/true"), Some(0x1000..0x3000));
        for other in ["rw-p 00000000 fe:01 12 /bin/true", "r--p 00000000 00:00 0 [vvar]", "r--p 00000000"] {
            assert_eq!(of(other), None, "{other}");
        }
        assert_eq!(of_file("1000-4002000 r--p 00000000 fe:01 12 /model.onnx"), None, "it is larger");
    }

    #[test]
    fn what_has_no_bytes_to_map_is_refused() {
        assert!(map_forever(tempfile::tempfile().unwrap()).unwrap_err().to_string().contains("empty"));
        let (reading, _writing) = io::pipe().unwrap();
        assert!(map_forever(reading).unwrap_err().to_string().contains("regular"));
    }
}

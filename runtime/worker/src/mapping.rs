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

/// Where files are mapped in this process and not to be written: libraries, their constants, a model. But not the
/// program itself, of which little is needed: its pages are memory of the daemon's, and would be counted as this
/// process's.
#[derive(Debug)]
pub(crate) struct FileMappings(Vec<Range<usize>>);

/// One line about a file.
#[derive(Debug, PartialEq, Eq)]
struct FileMapping<'a> {
    range: Range<usize>,
    /// Device and inode.
    file: (&'a str, &'a str),
}

impl FileMappings {
    pub(crate) fn of_this_process() -> io::Result<Self> {
        let text = std::fs::read_to_string(MAPPINGS)?;
        let all: Vec<FileMapping<'_>> = text.lines().filter_map(FileMapping::read).collect();
        let own_code = Self::of_this_process as *const () as usize;
        let program = all.iter().find(|mapping| mapping.range.contains(&own_code)).map(|mapping| mapping.file);
        let mapped_ahead =
            |mapping: &FileMapping<'_>| mapping.range.len() <= AHEAD_BYTES_MAX && Some(mapping.file) != program;
        Ok(Self(all.into_iter().filter(mapped_ahead).map(|mapping| mapping.range).collect()))
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

impl<'a> FileMapping<'a> {
    /// `7fb5a94d5000-7fb5aaa95000 r-xp 000d5000 fe:00 5333149   /usr/lib/dormouse/libonnxruntime.so`
    fn read(line: &'a str) -> Option<Self> {
        let mut fields = line.split_ascii_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let [permissions, _, device, inode] = [(); 4].map(|()| fields.next());
        let (permissions, file) = (permissions?, (device?, inode?));
        let address = |text| usize::from_str_radix(text, 16).ok();
        let range = address(start)?..address(end)?;
        (matches!(permissions, "r--p" | "r-xp") && file.1 != "0").then_some(Self { range, file })
    }
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
    fn what_is_mapped_of_files_and_not_written_is_found_but_the_program() {
        let mappings = FileMappings::of_this_process().unwrap();
        let is_found = |address: usize| mappings.0.iter().any(|range| range.contains(&address));
        assert!(is_found(nix::libc::getpid as *const () as usize), "a library");
        assert!(!is_found(what_has_no_bytes_to_map_is_refused as *const () as usize));
        mappings.map_pages();
        let line = |rest: &str| format!("1000-3000 {rest}");
        let code = line("r-xp 00000000 fe:01 12 /lib/libc.so");
        assert_eq!(FileMapping::read(&code), Some(FileMapping { range: 0x1000..0x3000, file: ("fe:01", "12") }));
        for other in ["rw-p 00000000 fe:01 12 /lib/libc.so", "r--p 00000000 00:00 0 [vvar]", "r--p 00000000"] {
            assert_eq!(FileMapping::read(&line(other)), None, "{other}");
        }
    }

    #[test]
    fn what_has_no_bytes_to_map_is_refused() {
        assert!(map_forever(tempfile::tempfile().unwrap()).unwrap_err().to_string().contains("empty"));
        let (reading, _writing) = io::pipe().unwrap();
        assert!(map_forever(reading).unwrap_err().to_string().contains("regular"));
    }
}

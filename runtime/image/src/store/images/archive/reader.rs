//! The bytes of an archive, whatever it is compressed with, from whatever descriptor it comes.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use flate2::bufread::MultiGzDecoder;
use rustix::event::{PollFd, PollFlags, poll};

use super::ArchiveError;
use crate::oci::Compression;

/// Read at a time.
const CHUNK_BYTES: usize = 256 << 10;

/// A descriptor of a caller's: a file, or a pipe that may be one that does not wait.
struct Given {
    file: File,
    given_up: Arc<AtomicBool>,
}

impl Read for Given {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.given_up.load(Ordering::Relaxed) {
                return Err(io::Error::other("whoever asked for it went away"));
            }
            match self.file.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    poll(&mut [PollFd::new(&self.file, PollFlags::IN)], None)?;
                }
                read => return read,
            }
        }
    }
}

pub(super) fn open(archive: OwnedFd, given_up: Arc<AtomicBool>) -> Result<Box<dyn Read>, ArchiveError> {
    let mut given = BufReader::with_capacity(CHUNK_BYTES, Given { file: archive.into(), given_up });
    let beginning = given.fill_buf().map_err(ArchiveError::Read)?;
    Ok(match Compression::detect(beginning) {
        Compression::None => Box::new(given),
        Compression::Gzip => Box::new(MultiGzDecoder::new(given)),
        Compression::Zstd => return Err(ArchiveError::Zstd),
    })
}

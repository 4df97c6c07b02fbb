//! The bytes of an archive, whatever it is compressed with, from whatever descriptor it comes.

use std::io::{BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;

use super::{ArchiveError, caller::Caller};
use crate::oci::Compression;

/// Read at a time.
const CHUNK_BYTES: usize = 256 << 10;

pub(super) fn open(archive: Caller) -> Result<Box<dyn Read>, ArchiveError> {
    let mut given = BufReader::with_capacity(CHUNK_BYTES, archive);
    let beginning = given.fill_buf().map_err(ArchiveError::Read)?;
    Ok(match Compression::detect(beginning) {
        Compression::None => Box::new(given),
        Compression::Gzip => Box::new(MultiGzDecoder::new(given)),
        Compression::Zstd => return Err(ArchiveError::Zstd),
    })
}

//! A blob, decompressed and hashed on both sides of that while it is read.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Take},
    os::fd::OwnedFd,
};

use dormouse_spec::Digest;
use flate2::bufread::MultiGzDecoder;
use sha2::{Digest as _, Sha256};

use super::zstd::Zstd;
use crate::{defence::Defence, messages::Compression};

/// One piece of either side, in bytes.
const PIECE_BYTES: usize = 256 << 10;

/// What a layer's contents exceed.
#[derive(Debug, thiserror::Error)]
#[error("it holds more than {0} bytes, the limit of what this layer may unpack to")]
struct Large(u64);

/// Counts and hashes what is read through it.
struct Hashed<R> {
    inner: R,
    hasher: Sha256,
    bytes: u64,
    bytes_max: u64,
}

type Blob = BufReader<Hashed<Take<File>>>;

enum Decoder {
    None(Blob),
    Gzip(Box<MultiGzDecoder<Blob>>),
    Zstd(Box<Zstd<Blob>>),
}

/// What the blob says, as a reader of the archive wants it.
pub(super) struct Contents(BufReader<Hashed<Decoder>>);

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Digests {
    pub(super) blob: Digest,
    pub(super) contents: Digest,
    /// Of the contents.
    pub(super) bytes: u64,
}

impl Contents {
    /// Reads the blob as long as it is now: whoever makes it longer meanwhile does not keep this busy.
    pub(super) fn open(blob: OwnedFd, compression: Compression, bytes_max: u64) -> io::Result<Self> {
        let blob = File::from(blob);
        let length = blob.metadata()?.len();
        let blob = BufReader::with_capacity(PIECE_BYTES, Hashed::new(blob.take(length), u64::MAX));
        let decoder = match compression {
            Compression::None => Decoder::None(blob),
            Compression::Gzip => Decoder::Gzip(Box::new(MultiGzDecoder::new(blob))),
            Compression::Zstd => Decoder::Zstd(Box::new(Zstd::new(blob))),
        };
        Ok(Self(BufReader::with_capacity(PIECE_BYTES, Hashed::new(decoder, bytes_max))))
    }

    /// The digests of what was read to its end, and of what the decompressor left of the blob.
    pub(super) fn finish(self) -> io::Result<Digests> {
        let contents = self.0.into_inner();
        let (bytes, diff_id) = (contents.bytes, contents.digest());
        let mut blob = match contents.inner {
            Decoder::None(blob) => blob,
            Decoder::Gzip(decoder) => decoder.into_inner(),
            Decoder::Zstd(decoder) => decoder.into_inner(),
        };
        io::copy(&mut blob, &mut io::sink())?;
        Ok(Digests { blob: blob.into_inner().digest(), contents: diff_id, bytes })
    }
}

impl<R> Hashed<R> {
    fn new(inner: R, bytes_max: u64) -> Self {
        Self { inner, hasher: Sha256::new(), bytes: 0, bytes_max }
    }

    fn digest(&self) -> Digest {
        Digest::from_sha256(self.hasher.clone().finalize().into())
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.bytes += length as u64;
        if self.bytes > self.bytes_max && Defence::UnpackBytesLimit.stands() {
            return Err(io::Error::other(Large(self.bytes_max)));
        }
        self.hasher.update(buffer.get(..length).unwrap_or_default());
        Ok(length)
    }
}

impl Read for Decoder {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::None(blob) => blob.read(buffer),
            Self::Gzip(decoder) => decoder.read(buffer),
            Self::Zstd(decoder) => decoder.read(buffer),
        }
    }
}

impl Read for Contents {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl BufRead for Contents {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.0.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.0.consume(amount);
    }
}

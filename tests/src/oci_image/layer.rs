//! One layer: a compressed archive.

use std::{
    io::{self, Write},
    mem,
};

use sha2::{Digest as _, Sha256};

use super::{Blob, Compression, Entry, compression::Encoder, spelled};

/// Two blocks of zeros, which end an archive.
const END_BYTES: usize = 1024;

/// Compresses as it goes, so that a bomb takes as little memory as it is large on the wire.
#[derive(Debug)]
pub struct LayerBuilder {
    archive: Archive,
    compression: Compression,
}

#[derive(Debug, Clone)]
pub struct Layer {
    pub blob: Blob,
    /// The digest of the archive before it was compressed.
    pub diff_id: String,
}

/// What is written is hashed, then compressed.
#[derive(Debug)]
struct Archive {
    encoder: Encoder,
    sum: Sha256,
}

impl LayerBuilder {
    #[must_use]
    pub fn new(compression: Compression) -> Self {
        Self { archive: Archive { encoder: compression.encoder(), sum: Sha256::new() }, compression }
    }

    #[must_use]
    pub fn entry(mut self, entry: Entry) -> Self {
        entry.write(&mut self.archive).unwrap();
        self
    }

    #[must_use]
    pub fn directory(self, path: impl AsRef<[u8]>) -> Self {
        self.entry(Entry::directory(path))
    }

    #[must_use]
    pub fn file(self, path: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Self {
        self.entry(Entry::file(path, content))
    }

    #[must_use]
    pub fn symlink(self, path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.entry(Entry::symlink(path, target))
    }

    #[must_use]
    pub fn hardlink(self, path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.entry(Entry::hardlink(path, target))
    }

    #[must_use]
    pub fn whiteout(self, path: &str) -> Self {
        self.entry(Entry::whiteout(path))
    }

    #[must_use]
    pub fn opaque(self, directory: &str) -> Self {
        self.entry(Entry::opaque(directory))
    }

    /// Bytes of the archive as they are.
    #[must_use]
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.archive.write_all(bytes).unwrap();
        self
    }

    #[must_use]
    pub fn build(self) -> Layer {
        self.raw(&[0; END_BYTES]).build_without_end()
    }

    /// An archive that ends with its last entry, as some tools write them.
    #[must_use]
    pub fn build_without_end(mut self) -> Layer {
        let diff_id = spelled(mem::take(&mut self.archive.sum));
        let bytes = self.archive.encoder.finish();
        Layer { blob: Blob { media_type: self.compression.media_type().to_owned(), bytes }, diff_id }
    }
}

impl Write for Archive {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.encoder.write(bytes)?;
        self.sum.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

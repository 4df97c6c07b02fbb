//! How a layer's archive is written down.

use std::io::{self, Write};

use flate2::{Compression as Effort, write::GzEncoder};

use super::zstd_frame::ZstdFrame;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    Plain,
    Gzip,
    Zstd,
}

impl Compression {
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Plain => "application/vnd.oci.image.layer.v1.tar",
            Self::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }

    pub(super) fn encoder(self) -> Encoder {
        match self {
            Self::Plain => Encoder::Plain(Vec::new()),
            // Without a name or a time in its header.
            Self::Gzip => Encoder::Gzip(GzEncoder::new(Vec::new(), Effort::default())),
            Self::Zstd => Encoder::Zstd(ZstdFrame::new(Vec::new()).unwrap()),
        }
    }
}

#[derive(Debug)]
pub(super) enum Encoder {
    Plain(Vec<u8>),
    Gzip(GzEncoder<Vec<u8>>),
    Zstd(ZstdFrame<Vec<u8>>),
}

impl Encoder {
    pub(super) fn finish(self) -> Vec<u8> {
        match self {
            Self::Plain(bytes) => bytes,
            Self::Gzip(encoder) => encoder.finish().unwrap(),
            Self::Zstd(frame) => frame.finish().unwrap(),
        }
    }
}

impl Write for Encoder {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(kept) => kept.write(bytes),
            Self::Gzip(encoder) => encoder.write(bytes),
            Self::Zstd(frame) => frame.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

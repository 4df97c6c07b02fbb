//! Zstandard as its format allows without a compressor: blocks as they are, and one byte for a block of equals.

use std::io::{self, Write};

/// Magic number, a descriptor that promises nothing, and a window of [`BLOCK_BYTES`].
const HEADER: [u8; 6] = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 7 << 3];
/// The largest block of the format, and the window of the header.
const BLOCK_BYTES: usize = 128 << 10;
const RAW: u32 = 0;
const RUN: u32 = 1;

/// One frame, block by block.
#[derive(Debug)]
pub(super) struct ZstdFrame<W> {
    inner: W,
    block: Vec<u8>,
}

impl<W: Write> ZstdFrame<W> {
    pub(super) fn new(mut inner: W) -> io::Result<Self> {
        inner.write_all(&HEADER)?;
        Ok(Self { inner, block: Vec::with_capacity(BLOCK_BYTES) })
    }

    pub(super) fn finish(mut self) -> io::Result<W> {
        self.end_block(true)?;
        Ok(self.inner)
    }

    fn end_block(&mut self, is_last: bool) -> io::Result<()> {
        let is_run = self.block.len() > 1 && self.block.windows(2).all(|pair| pair[0] == pair[1]);
        let (kind, content) = if is_run { (RUN, &self.block[..1]) } else { (RAW, &self.block[..]) };
        let size = u32::try_from(self.block.len()).map_err(io::Error::other)?;
        let header = size << 3 | kind << 1 | u32::from(is_last);
        self.inner.write_all(&header.to_le_bytes()[..3])?;
        self.inner.write_all(content)?;
        self.block.clear();
        Ok(())
    }
}

impl<W: Write> Write for ZstdFrame<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(BLOCK_BYTES - self.block.len());
        self.block.extend_from_slice(&bytes[..taken]);
        if self.block.len() == BLOCK_BYTES {
            self.end_block(false)?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

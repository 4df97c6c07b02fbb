//! Zstandard as registries serve it: frames one after another, some of them to be skipped.

use std::io::{self, BufRead, Read};

use ruzstd::decoding::{
    BlockDecodingStrategy, FrameDecoder,
    errors::{FrameDecoderError, ReadFrameHeaderError},
};

/// How far back a frame may refer, in bytes: it is memory of the unpacker's. Every level up to 19 stays within.
const WINDOW_BYTES_MAX: u64 = 8 << 20;

/// Why a frame is not decoded.
#[derive(Debug, thiserror::Error)]
enum ZstdError {
    #[error(
        "its zstd window of {} MiB is over the limit of {} MiB: compress the layer without `--long` and at level 19 or less",
        .0 >> 20,
        WINDOW_BYTES_MAX >> 20
    )]
    Window(u64),
    #[error("its zstd data is damaged")]
    Damaged(#[source] FrameDecoderError),
}

pub(super) struct Zstd<R> {
    source: R,
    decoder: FrameDecoder,
}

impl<R: BufRead> Zstd<R> {
    pub(super) fn new(source: R) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(WINDOW_BYTES_MAX);
        Self { source, decoder }
    }

    pub(super) fn into_inner(self) -> R {
        self.source
    }

    /// Begins the next frame that holds data; false where there is none.
    fn begin_frame(&mut self) -> io::Result<bool> {
        while !self.source.fill_buf()?.is_empty() {
            match self.decoder.init(&mut self.source) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                    skip(&mut self.source, length.into())?;
                }
                Err(FrameDecoderError::WindowSizeTooBig { requested, .. }) => {
                    return Err(io::Error::other(ZstdError::Window(requested)));
                }
                Err(error) => return Err(damaged(error)),
            }
        }
        Ok(false)
    }
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.decoder.can_collect() == 0 {
            if !self.decoder.is_finished() {
                let one = BlockDecodingStrategy::UptoBlocks(1);
                self.decoder.decode_blocks(&mut self.source, one).map_err(damaged)?;
            } else if !self.begin_frame()? {
                return Ok(0);
            }
        }
        self.decoder.read(buffer)
    }
}

fn skip(source: &mut impl Read, length: u64) -> io::Result<()> {
    let skipped = io::copy(&mut source.take(length), &mut io::sink())?;
    if skipped == length { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

fn damaged(error: FrameDecoderError) -> io::Error {
    io::Error::other(ZstdError::Damaged(error))
}

use bytes::Bytes;

use crate::registry::BlobSink;

/// A sink that keeps everything, and remembers how often it had to begin anew.
#[derive(Debug, Default)]
pub(super) struct Collected {
    pub(super) content: Vec<u8>,
    pub(super) restarts: usize,
    /// The bytes it has room for; the disk is full behind them.
    pub(super) room: Option<usize>,
}

#[derive(Debug, thiserror::Error)]
#[error("the disk is full")]
pub(super) struct Full;

impl BlobSink for Collected {
    type Error = Full;

    fn received(&self) -> u64 {
        self.content.len() as u64
    }

    async fn write(&mut self, chunk: Bytes) -> Result<(), Full> {
        if self.room.is_some_and(|room| self.content.len() + chunk.len() > room) {
            return Err(Full);
        }
        self.content.extend_from_slice(&chunk);
        Ok(())
    }

    async fn restart(&mut self) -> Result<(), Full> {
        self.content.clear();
        self.restarts += 1;
        Ok(())
    }
}

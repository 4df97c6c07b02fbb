use std::sync::Arc;

use bytes::Bytes as Chunk;
use dormouse_spec::Bytes;
use tokio::{
    sync::mpsc,
    task::{JoinHandle, spawn_blocking},
};

use super::{ImageStore, ImageStoreError, StoreError, StoredBlob, blob::Incoming};
use crate::oci::Descriptor;

/// Chunks that wait for the disk; whoever brings more waits. A chunk is what one read of a connection
/// gives.
const CHUNKS_MAX: usize = 16;

enum Step {
    Chunk(Chunk),
    Restart,
    Finish,
}

/// Takes in a blob as it comes. It is hashed and written on a thread that may wait for the disk.
#[derive(Debug)]
pub struct BlobWriter {
    steps: mpsc::Sender<Step>,
    /// None once it has ended and was heard.
    writer: Option<JoinHandle<Result<StoredBlob, ImageStoreError>>>,
    bytes: u64,
}

impl ImageStore {
    /// Begins to take in a blob; where the writer is dropped before it is finished, nothing is left of it.
    ///
    /// # Errors
    /// Where there is no space for it.
    pub fn writer(&self, descriptor: Descriptor) -> Result<BlobWriter, ImageStoreError> {
        self.check_free_space(Bytes::new(descriptor.size))?;
        let (steps, taken) = mpsc::channel(CHUNKS_MAX);
        let images = Arc::clone(&self.inner);
        let writer = spawn_blocking(move || {
            let incoming = Incoming::create(images)?;
            take_in(incoming, taken, &descriptor)
        });
        Ok(BlobWriter { steps, writer: Some(writer), bytes: 0 })
    }
}

fn take_in(
    mut incoming: Incoming,
    mut steps: mpsc::Receiver<Step>,
    descriptor: &Descriptor,
) -> Result<StoredBlob, ImageStoreError> {
    loop {
        match steps.blocking_recv() {
            Some(Step::Chunk(chunk)) => incoming.write(&chunk)?,
            Some(Step::Restart) => incoming.restart()?,
            Some(Step::Finish) => return incoming.place(Some(descriptor)),
            None => return Err(ImageStoreError::GivenUp),
        }
    }
}

impl BlobWriter {
    /// Bytes taken in so far: where a broken transfer goes on.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// # Errors
    /// Where an earlier chunk could not be written.
    pub async fn write(&mut self, chunk: Chunk) -> Result<(), ImageStoreError> {
        let bytes = chunk.len() as u64;
        self.tell(Step::Chunk(chunk)).await?;
        self.bytes += bytes;
        Ok(())
    }

    /// Begins anew with the blob's first byte.
    ///
    /// # Errors
    /// Where an earlier chunk could not be written.
    pub async fn restart(&mut self) -> Result<(), ImageStoreError> {
        self.tell(Step::Restart).await?;
        self.bytes = 0;
        Ok(())
    }

    /// Waits until the blob has reached the disk and has its place.
    ///
    /// # Errors
    /// Where its bytes are not those of its digest, or the disk fails.
    pub async fn finish(mut self) -> Result<StoredBlob, ImageStoreError> {
        self.tell(Step::Finish).await?;
        self.ended().await
    }

    async fn tell(&mut self, step: Step) -> Result<(), ImageStoreError> {
        if self.steps.send(step).await.is_ok() {
            return Ok(());
        }
        // The writer ended early, and says why.
        self.ended().await.and(Err(ImageStoreError::GivenUp))
    }

    async fn ended(&mut self) -> Result<StoredBlob, ImageStoreError> {
        match self.writer.take() {
            Some(writer) => writer.await.map_err(StoreError::Task)?,
            None => Err(ImageStoreError::GivenUp),
        }
    }
}

use std::{error::Error, future::Future};

use bytes::Bytes;
use dormouse_spec::Digest;
use reqwest::{
    Response, StatusCode,
    header::{CONTENT_RANGE, HeaderMap, HeaderValue, RANGE},
};

use sha2::{Digest as _, Sha256};

use super::{Content, Descriptor, Failure, body::Body, origin::Origin, refusal::refusal, transport::Transport};

/// Where a blob goes. It remembers what it has, so that a download which breaks goes on from there,
/// and whether that is the right content is for it to check: bytes of several attempts and of
/// several places may have met in it.
pub trait BlobSink: Send {
    type Error: Error + Send + Sync + 'static;

    /// The bytes it has, from the first on.
    fn received(&self) -> u64;

    /// Takes the next bytes. Together they are never more than the descriptor's size.
    fn write(&mut self, chunk: Bytes) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Forgets all that it has: it is sent from the first byte again.
    fn restart(&mut self) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// Reads from one place what `sink` does not have yet.
pub(super) async fn fetch_blob<S: BlobSink>(
    transport: &Transport,
    origin: &Origin,
    blob: &Descriptor,
    sink: &mut S,
) -> Result<(), Failure> {
    let offset = sink.received();
    if offset == blob.size {
        return Ok(());
    }
    let response = origin.get(transport, &format!("blobs/{}", blob.digest), range(offset)?).await?;
    match response.status() {
        StatusCode::OK if offset > 0 => sink.restart().await.map_err(stored)?,
        StatusCode::OK => {}
        StatusCode::PARTIAL_CONTENT if begins_at(&response) == Some(offset) => {}
        // Whatever it would have sent does not fit what is there.
        StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
            sink.restart().await.map_err(stored)?;
            return Err(Failure::Range { offset });
        }
        _ => return Err(refusal(transport, response, Content::Blob(blob.digest)).await),
    }
    receive(transport.body(response), blob, sink).await
}

async fn receive<S: BlobSink>(mut body: Body, blob: &Descriptor, sink: &mut S) -> Result<(), Failure> {
    let left = blob.size.saturating_sub(sink.received());
    if body.declared().is_some_and(|declared| declared > left) {
        return Err(Failure::TooLarge { max: blob.size });
    }
    loop {
        let chunk = body.chunk().await;
        let received = sink.received();
        let truncated = |source| Failure::Truncated { received, size: blob.size, source };
        match chunk {
            Ok(Some(chunk)) if chunk.len() as u64 > blob.size.saturating_sub(received) => {
                return Err(Failure::TooLarge { max: blob.size });
            }
            Ok(Some(chunk)) => sink.write(chunk).await.map_err(stored)?,
            Ok(None) if received == blob.size => return Ok(()),
            Ok(None) => return Err(truncated(None)),
            Err(source @ Failure::Broken { .. }) => return Err(truncated(Some(Box::new(source)))),
            Err(other) => return Err(other),
        }
    }
}

fn stored(source: impl Error + Send + Sync + 'static) -> Failure {
    Failure::Sink { source: Box::new(source) }
}

fn range(offset: u64) -> Result<HeaderMap, Failure> {
    if offset == 0 {
        return Ok(HeaderMap::new());
    }
    let value = HeaderValue::from_str(&format!("bytes={offset}-")).map_err(|_| Failure::Range { offset })?;
    Ok(HeaderMap::from_iter([(RANGE, value)]))
}

/// The first byte of a partial answer.
fn begins_at(response: &Response) -> Option<u64> {
    let range = response.headers().get(CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")?;
    range.split_once('-')?.0.parse().ok()
}

/// A blob that is small enough to be kept in memory.
#[derive(Debug, Default)]
pub(super) struct InMemory(pub(super) Vec<u8>);

impl BlobSink for InMemory {
    type Error = std::convert::Infallible;

    fn received(&self) -> u64 {
        self.0.len() as u64
    }

    async fn write(&mut self, chunk: Bytes) -> Result<(), Self::Error> {
        self.0.extend_from_slice(&chunk);
        Ok(())
    }

    async fn restart(&mut self) -> Result<(), Self::Error> {
        self.0.clear();
        Ok(())
    }
}

impl InMemory {
    pub(super) fn verified(self, expected: Digest) -> Result<Bytes, Failure> {
        let found = Digest::from_sha256(Sha256::digest(&self.0).into());
        if found == expected { Ok(self.0.into()) } else { Err(Failure::WrongDigest { expected, found }) }
    }
}

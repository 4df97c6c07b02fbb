//! Asking a preparing replica for its work, and taking what comes.

use std::path::Path;

use bytes::Bytes as Chunk;
use dormouse_image::{PreparedModel, PreparedRecord, PreparedStore, StoreError, Verified};
use dormouse_spec::{Bytes, Digest, EndpointName};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Request, Response, StatusCode,
    body::{Body, Incoming},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;
use tokio::{net::UnixStream, sync::mpsc};

use super::Sample;
use crate::job::AskError;

/// Pieces of a prepared model that wait to be written; each is what was read at a time.
const CHUNKS_MAX: usize = 4;
/// The longest refusal that is read.
const REFUSAL_BYTES_MAX: usize = 64 << 10;
/// Says what the answers were compared on.
const VERIFIED: &str = "dormouse-verified";

/// Why a replica prepared nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum OrderError {
    #[error("connecting to the replica failed")]
    Connect(#[source] std::io::Error),
    #[error("asking the replica failed")]
    Ask(#[source] hyper::Error),
    #[error("the request cannot be made")]
    Request(#[source] hyper::http::Error),
    /// What was sent as a sample is none of this model.
    #[error("the sample cannot be used: {reason}")]
    Sample { reason: String },
    #[error("{reason}")]
    Refused { reason: String },
    #[error("the replica answered without saying how it verified the prepared model")]
    Unverified,
    #[error("the replica did not say how large the prepared model is")]
    NoLength,
    #[error("the prepared model did not arrive whole")]
    Broken(#[source] hyper::Error),
    #[error("the prepared model cannot be stored")]
    Store(#[from] StoreError),
}

impl AskError for OrderError {
    fn may_be_death(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::Ask(_) | Self::Broken(_))
    }
}

/// What is to be prepared.
#[derive(Debug)]
pub(super) struct Order<'a> {
    pub(super) endpoint: &'a EndpointName,
    pub(super) model: Digest,
    pub(super) sample: Option<&'a Sample>,
    pub(super) key: Digest,
}

impl Order<'_> {
    /// Has the replica behind `socket` prepare its model, and stores it.
    pub(super) async fn place(&self, socket: &Path, store: &PreparedStore) -> Result<PreparedModel, OrderError> {
        let stream = UnixStream::connect(socket).await.map_err(OrderError::Connect)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(OrderError::Ask)?;
        // Ends with the sender and the body.
        tokio::spawn(connection);
        let sample = self.sample.map_or_else(Chunk::new, |sample| Chunk::copy_from_slice(sample.text().as_bytes()));
        let request = Request::post(format!("/v2/models/{}/prepare", self.endpoint))
            .header("host", "replica")
            .body(Full::new(sample))
            .map_err(OrderError::Request)?;
        let response = sender.send_request(request).await.map_err(OrderError::Ask)?;
        match response.status() {
            StatusCode::OK => self.take(response, store).await,
            StatusCode::BAD_REQUEST if self.sample.is_some() => {
                Err(OrderError::Sample { reason: refusal(response).await })
            }
            _ => Err(OrderError::Refused { reason: refusal(response).await }),
        }
    }

    async fn take(&self, response: Response<Incoming>, store: &PreparedStore) -> Result<PreparedModel, OrderError> {
        let verified = match response.headers().get(VERIFIED).map(|value| value.as_bytes()) {
            Some(b"sample") => Verified::Sample,
            Some(b"seeded") => Verified::Seeded,
            Some(b"no") => Verified::No,
            _ => return Err(OrderError::Unverified),
        };
        let mut body = response.into_body();
        let bytes = Bytes::new(body.size_hint().exact().ok_or(OrderError::NoLength)?);
        let sample = self.sample.filter(|_| verified == Verified::Sample).map(Sample::digest);
        let record = PreparedRecord { model: self.model, bytes, verified, sample };
        let (chunks, arriving) = mpsc::channel(CHUNKS_MAX);
        let passed_on = async move {
            while let Some(frame) = body.frame().await {
                if let Ok(chunk) = frame?.into_data()
                    && chunks.send(chunk).await.is_err()
                {
                    // The store gave up, and says why.
                    break;
                }
            }
            Ok(())
        };
        let (passed_on, stored) = tokio::join!(passed_on, store.add(self.key, record, arriving));
        passed_on.map_err(OrderError::Broken)?;
        Ok(stored?)
    }
}

/// What the replica says of it, in one line.
async fn refusal(response: Response<Incoming>) -> String {
    let status = response.status();
    let told = async {
        let body = Limited::new(response.into_body(), REFUSAL_BYTES_MAX).collect().await.ok()?.to_bytes();
        let document: serde_json::Value = serde_json::from_slice(&body).ok()?;
        Some(document.get("error")?.as_str()?.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    told.await.unwrap_or_else(|| format!("the replica answered {status}"))
}

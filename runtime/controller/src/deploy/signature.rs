use std::{path::Path, time::Duration};

use bytes::Bytes;
use dormouse_spec::EndpointName;
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::{Request, StatusCode, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use crate::job::AskError;

/// The largest description of a model's inputs and outputs.
const METADATA_BYTES_MAX: usize = 1 << 20;
/// How long a replica that said it is ready may take to describe its model.
const METADATA_WAIT: Duration = Duration::from_secs(10);

/// Why a replica's description of its model is not there.
#[derive(Debug, thiserror::Error)]
pub(super) enum SignatureError {
    #[error("connecting to the replica failed")]
    Connect(#[source] std::io::Error),
    #[error("asking the replica for its metadata failed")]
    Ask(#[source] hyper::Error),
    #[error("reading the replica's metadata failed")]
    Read(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the replica's metadata has more than {METADATA_BYTES_MAX} bytes")]
    TooLarge,
    #[error("the replica answered {status} where its metadata was expected")]
    Status { status: StatusCode },
    #[error("the replica's metadata is not JSON")]
    Json(#[source] serde_json::Error),
    #[error("the replica did not tell its metadata within {} s", METADATA_WAIT.as_secs())]
    Silent,
}

impl AskError for SignatureError {
    fn may_be_death(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::Ask(_) | Self::Read(_))
    }
}

/// Asks a replica what its model takes and gives.
pub(super) async fn signature(socket: &Path, name: &EndpointName) -> Result<serde_json::Value, SignatureError> {
    tokio::time::timeout(METADATA_WAIT, ask(socket, name)).await.map_err(|_| SignatureError::Silent)?
}

async fn ask(socket: &Path, name: &EndpointName) -> Result<serde_json::Value, SignatureError> {
    let stream = UnixStream::connect(socket).await.map_err(SignatureError::Connect)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(SignatureError::Ask)?;
    // Ends with the sender.
    let connection = tokio::spawn(connection);
    let request = Request::get(format!("/v2/models/{name}")).header("host", "replica").body(Empty::<Bytes>::new());
    let request = request.map_err(|error| SignatureError::Read(error.into()))?;
    let response = sender.send_request(request).await.map_err(SignatureError::Ask)?;
    let status = response.status();
    if status != StatusCode::OK {
        return Err(SignatureError::Status { status });
    }
    let body = Limited::new(response.into_body(), METADATA_BYTES_MAX).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() { SignatureError::TooLarge } else { SignatureError::Read(error) }
    })?;
    drop(sender);
    connection.abort();
    serde_json::from_slice(&body.to_bytes()).map_err(SignatureError::Json)
}

mod images;

use std::{io, os::fd::OwnedFd, path::PathBuf, time::Duration};

use bytes::Bytes;
use dormouse_controller::LogQuery;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;

use super::{
    DOCUMENT_BYTES_MAX,
    api::{DeployEvent, DeployOrder, EndpointStatus, ErrorBody, NodeStatus, WakeStatus},
    descriptors::DescriptorStream,
    locate, logs,
};

/// The longest line of a stream: a log line or a step of a deploy.
const LINE_BYTES_MAX: usize = 1 << 20;

/// How long a daemon may take to begin the answer to a question. Nothing it is asked to tell takes
/// it that long; to deploy and to delete may.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

/// Why the daemon could not be asked, or said no.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("no daemon at {run}: start one with `dormouse daemon`, or pass --run DIR of one that runs", run = run.display())]
    NoDaemon { run: PathBuf },
    #[error("several daemons run; say which one: {}", runs.iter().map(|run| format!("--run {}", run.display())).collect::<Vec<_>>().join(" or "))]
    Several { runs: Vec<PathBuf> },
    #[error(
        "you may not use {socket}: root grants it with `usermod -aG dormouse-admin USER`, from the next login on",
        socket = socket.display()
    )]
    NotAllowed { socket: PathBuf },
    #[error("connecting to {socket} failed", socket = socket.display())]
    Connect {
        socket: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("passing the files failed")]
    Descriptors(#[source] io::Error),
    #[error("the daemon broke the connection")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the daemon does not answer: its log says why")]
    Silent,
    #[error("the daemon ended before it was done")]
    Unfinished,
    #[error("the daemon answered with something else than this version understands")]
    Malformed(#[source] serde_json::Error),
    #[error("{message}")]
    Refused { status: StatusCode, message: String },
}

/// The daemon of one run directory.
#[derive(Debug, Clone)]
pub struct Client {
    run: PathBuf,
}

impl Client {
    #[must_use]
    pub fn new(run: PathBuf) -> Self {
        Self { run }
    }

    /// # Errors
    /// See [`ClientError`], as for all of these.
    pub async fn node(&self) -> Result<NodeStatus, ClientError> {
        document(self.call(Method::GET, "/v1/node", Vec::new(), Vec::new()).await?).await
    }

    /// # Errors
    /// See [`ClientError`].
    pub async fn endpoints(&self) -> Result<Vec<EndpointStatus>, ClientError> {
        document(self.call(Method::GET, "/v1/endpoints", Vec::new(), Vec::new()).await?).await
    }

    /// # Errors
    /// See [`ClientError`].
    pub async fn endpoint(&self, name: &str) -> Result<EndpointStatus, ClientError> {
        document(self.call(Method::GET, &endpoint_path(name), Vec::new(), Vec::new()).await?).await
    }

    /// The endpoint's last wakes, the newest first.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn wakes(&self, name: &str) -> Result<Vec<WakeStatus>, ClientError> {
        let path = format!("{}/wakes", endpoint_path(name));
        document(self.call(Method::GET, &path, Vec::new(), Vec::new()).await?).await
    }

    /// # Errors
    /// See [`ClientError`].
    pub async fn delete(&self, name: &str) -> Result<(), ClientError> {
        self.call(Method::DELETE, &endpoint_path(name), Vec::new(), Vec::new()).await.map(drop)
    }

    /// Calls `step` for each step and returns the last event, [`DeployEvent::Deployed`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn deploy(
        &self,
        order: &DeployOrder,
        files: Vec<OwnedFd>,
        mut step: impl FnMut(&DeployEvent),
    ) -> Result<DeployEvent, ClientError> {
        let body = serde_json::to_vec(order).map_err(ClientError::Malformed)?;
        let mut lines = LineReader::new(self.call(Method::POST, "/v1/endpoints", body, files).await?);
        while let Some(line) = lines.next().await? {
            match serde_json::from_slice(&line).map_err(ClientError::Malformed)? {
                DeployEvent::Failed { status, error } => {
                    let status = StatusCode::from_u16(status).unwrap_or_default();
                    return Err(ClientError::Refused { status, message: error });
                }
                deployed @ DeployEvent::Deployed { .. } => return Ok(deployed),
                event => step(&event),
            }
        }
        Err(ClientError::Unfinished)
    }

    /// Calls `line` for each kept line, and where they are followed for those to come. Lines are bytes: what a
    /// replica prints need not be UTF-8.
    ///
    /// # Errors
    /// See [`ClientError`], and what `line` returns.
    pub async fn logs<E: From<ClientError>>(
        &self,
        name: &str,
        query: LogQuery,
        mut line: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let path = format!("{}/logs?{}", endpoint_path(name), logs::write(query));
        let mut lines = LineReader::new(self.call(Method::GET, &path, Vec::new(), Vec::new()).await?);
        while let Some(next) = lines.next().await? {
            line(&next)?;
        }
        Ok(())
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
        files: Vec<OwnedFd>,
    ) -> Result<Response<Incoming>, ClientError> {
        let stream =
            DescriptorStream::sending(locate::connect(&self.run).await?, files).map_err(ClientError::Descriptors)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // It ends with the connection; what breaks it is told by the request too.
        tokio::spawn(connection);
        let deadline = if method == Method::GET { ANSWER_DEADLINE } else { Duration::MAX };
        let mut request = Request::new(Full::<Bytes>::from(body));
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().map_err(broken)?;
        request.headers_mut().insert(http::header::HOST, http::HeaderValue::from_static("dormouse"));
        let answer = tokio::time::timeout(deadline, sender.send_request(request)).await;
        let response = answer.map_err(|_| ClientError::Silent)?.map_err(broken)?;
        if response.status().is_success() { Ok(response) } else { Err(refusal(response).await) }
    }
}

/// Names are checked before they get here; what is none is told by the daemon.
fn endpoint_path(name: &str) -> String {
    format!("/v1/endpoints/{name}")
}

fn broken(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ClientError {
    ClientError::Broken(error.into())
}

async fn refusal(response: Response<Incoming>) -> ClientError {
    let status = response.status();
    match document::<ErrorBody>(response).await {
        Ok(body) => ClientError::Refused { status, message: body.error },
        Err(_) => ClientError::Refused { status, message: format!("the daemon answered {status}") },
    }
}

async fn document<T: DeserializeOwned>(response: Response<Incoming>) -> Result<T, ClientError> {
    let body = Limited::new(response.into_body(), DOCUMENT_BYTES_MAX).collect().await.map_err(broken)?;
    serde_json::from_slice(&body.to_bytes()).map_err(ClientError::Malformed)
}

/// Cuts a body into its lines.
struct LineReader {
    body: Incoming,
    buffered: Vec<u8>,
}

impl LineReader {
    fn new(response: Response<Incoming>) -> Self {
        Self { body: response.into_body(), buffered: Vec::new() }
    }

    async fn next(&mut self) -> Result<Option<Vec<u8>>, ClientError> {
        loop {
            if let Some(end) = self.buffered.iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.buffered.drain(..=end).collect();
                line.pop();
                return Ok(Some(line));
            }
            if self.buffered.len() > LINE_BYTES_MAX {
                return Err(broken("a line is too long"));
            }
            match self.body.frame().await {
                None => return Ok((!self.buffered.is_empty()).then(|| std::mem::take(&mut self.buffered))),
                Some(frame) => {
                    if let Ok(data) = frame.map_err(broken)?.into_data() {
                        self.buffered.extend_from_slice(&data);
                    }
                }
            }
        }
    }
}

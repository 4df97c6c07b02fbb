//! Whether a process of an image takes requests: it cannot say so itself, so it is looked at.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use dormouse_spec::{Probe, ProbeHandler};
use http_body_util::Empty;
use hyper::{Request, StatusCode, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use tokio::{
    task::AbortHandle,
    time::{sleep, timeout},
};

use crate::Inside;

/// Between two looks where nobody said how long: short at first, since most of the time of a wake is waited
/// here, then longer, since a process that loads for minutes must not be kept from it.
const PAUSE_FIRST: Duration = Duration::from_micros(500);
const PAUSE_LAST: Duration = Duration::from_millis(50);
/// As what Kubernetes' own probes are known, which some servers answer apart from requests.
const USER_AGENT: &str = concat!("kube-probe/1.34 (dormouse ", env!("CARGO_PKG_VERSION"), ")");

/// What a look saw.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotReady {
    #[error("nothing listens on port {port}")]
    NothingListens { port: u16 },
    #[error("connecting to port {port} failed: {source}")]
    Connect { port: u16, source: io::Error },
    #[error("GET {path} on port {port} was not answered: {source}")]
    Ask { port: u16, path: String, source: hyper::Error },
    #[error("GET {path} on port {port} cannot be asked: {source}")]
    Request { port: u16, path: String, source: hyper::http::Error },
    #[error("GET {path} on port {port} was answered {status}")]
    Status { port: u16, path: String, status: StatusCode },
    #[error("port {port} did not answer within {} ms", .longest.as_millis())]
    Late { port: u16, longest: Duration },
}

/// What somebody who looks has to tell.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// Why, where that is not what was told before.
    NotReady(String),
    /// The last that is told.
    Ready,
}

/// Somebody who looks, until this is dropped.
#[derive(Debug)]
pub(crate) struct Looking(AbortHandle);

impl Looking {
    pub(crate) fn begin(inside: Arc<Inside>, probe: Probe, tell: impl Fn(Look) + Send + Sync + 'static) -> Self {
        let task = tokio::spawn(async move {
            let last = Mutex::new(String::new());
            until_ready(inside, &probe, |not_ready| {
                let seen = not_ready.to_string();
                let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
                if *last != seen {
                    last.clone_from(&seen);
                    tell(Look::NotReady(seen));
                }
            })
            .await;
            tell(Look::Ready);
        });
        Self(task.abort_handle())
    }
}

impl Drop for Looking {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Looks until it is ready, and says what it sees while it is not.
pub(crate) async fn until_ready(inside: Arc<Inside>, probe: &Probe, saw: impl Fn(&NotReady)) {
    sleep(probe.initial_delay).await;
    let (mut pause, mut good) = (PAUSE_FIRST, 0);
    loop {
        match look(&inside, probe).await {
            Ok(()) => {
                good += 1;
                if good >= probe.success_threshold {
                    return;
                }
            }
            Err(not_ready) => {
                good = 0;
                saw(&not_ready);
            }
        }
        if probe.period.is_zero() {
            sleep(pause).await;
            pause = pause.saturating_mul(2).min(PAUSE_LAST);
        } else {
            sleep(probe.period).await;
        }
    }
}

async fn look(inside: &Inside, probe: &Probe) -> Result<(), NotReady> {
    let (ProbeHandler::TcpSocket { port } | ProbeHandler::HttpGet { port, .. }) = &probe.handler;
    let port = port.unwrap_or(inside.port());
    let looking = async {
        let stream = inside.connect(port).await.map_err(|source| match source.kind() {
            io::ErrorKind::ConnectionRefused => NotReady::NothingListens { port },
            _ => NotReady::Connect { port, source },
        })?;
        match &probe.handler {
            ProbeHandler::TcpSocket { .. } => Ok(()),
            ProbeHandler::HttpGet { path, headers, .. } => get(stream, port, path, headers).await,
        }
    };
    let longest = probe.timeout;
    timeout(longest, looking).await.unwrap_or(Err(NotReady::Late { port, longest }))
}

async fn get(
    stream: tokio::net::TcpStream,
    port: u16,
    path: &str,
    headers: &[(String, String)],
) -> Result<(), NotReady> {
    let of_path = || path.to_owned();
    let ask = |source| NotReady::Ask { port, path: of_path(), source };
    let mut request = Request::get(path);
    let says = |name: &str| headers.iter().any(|(said, _)| said.eq_ignore_ascii_case(name));
    if !says(header::HOST.as_str()) {
        request = request.header(header::HOST, format!("127.0.0.1:{port}"));
    }
    if !says(header::USER_AGENT.as_str()) {
        request = request.header(header::USER_AGENT, USER_AGENT);
    }
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request.header(header::CONNECTION, "close").body(Empty::<Bytes>::new());
    let request = request.map_err(|source| NotReady::Request { port, path: of_path(), source })?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(ask)?;
    tokio::pin!(connection);
    let answer = sender.send_request(request);
    tokio::pin!(answer);
    let answer = tokio::select! {
        answer = &mut answer => answer,
        // Its error is also that of the request.
        _ = &mut connection => answer.await,
    };
    let status = answer.map_err(ask)?.status();
    if (200..400).contains(&status.as_u16()) { Ok(()) } else { Err(NotReady::Status { port, path: of_path(), status }) }
}

#[cfg(test)]
mod tests;

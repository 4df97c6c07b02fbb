//! One look at a process of an image, as Kubernetes' kubelet does it: from outside, over a socket that was made
//! where the process listens, or by a command that is run beside it.

mod command;
mod grpc;
mod h2c;
mod health;
mod http;

use std::{io, time::Duration};

use dormouse_spec::{AppProtocol, Probe, ProbeHandler};
use hyper::StatusCode;
use tokio::{net::TcpStream, time::timeout};

use crate::Inside;

/// As what Kubernetes' own probes are known, which some servers answer apart from requests.
const USER_AGENT: &str = concat!("kube-probe/1.34 (dormouse ", env!("CARGO_PKG_VERSION"), ")");

/// What a look saw where it did not go well.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProbeFailure {
    #[error("nothing listens on port {port}")]
    NothingListens { port: u16 },
    #[error("there is no socket to ask it by: {source}")]
    NoSocket { source: io::Error },
    #[error("connecting to port {port} failed: {source}")]
    Connect { port: u16, source: io::Error },
    #[error("{what} on port {port} was not answered: {source}")]
    Ask { port: u16, what: String, source: hyper::Error },
    #[error("{what} on port {port} cannot be asked: {source}")]
    Request { port: u16, what: String, source: hyper::http::Error },
    #[error("{what} on port {port} was answered {status}")]
    Status { port: u16, what: String, status: StatusCode },
    #[error("{what} on port {port} was answered {answer}")]
    Health { port: u16, what: String, answer: String },
    #[error("`{command}` {ended}{output}")]
    Command {
        command: String,
        ended: String,
        /// What it printed, after a colon.
        output: String,
    },
    #[error("port {port} did not answer within {} ms", .longest.as_millis())]
    Late { port: u16, longest: Duration },
}

/// What was seen, as those may be told who call an endpoint, and what else its operator may know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) told: String,
    /// The same with what is not for everybody: what a command is given, and what it printed.
    pub(crate) in_full: Option<String>,
}

impl Seen {
    /// Of what was done with it.
    pub(crate) fn map(self, change: impl Fn(&str) -> String) -> Self {
        Self { told: change(&self.told), in_full: self.in_full.as_deref().map(change) }
    }
}

impl From<&ProbeFailure> for Seen {
    fn from(failure: &ProbeFailure) -> Self {
        match failure {
            ProbeFailure::Command { ended, .. } => {
                Self { told: format!("the command of the probe {ended}"), in_full: Some(failure.to_string()) }
            }
            other => Self { told: other.to_string(), in_full: None },
        }
    }
}

/// Who is asked, and how that is called where it fails.
#[derive(Debug)]
struct Asked {
    port: u16,
    what: String,
}

impl Asked {
    fn failed(&self, source: hyper::Error) -> ProbeFailure {
        ProbeFailure::Ask { port: self.port, what: self.what.clone(), source }
    }

    fn impossible(&self, source: hyper::http::Error) -> ProbeFailure {
        ProbeFailure::Request { port: self.port, what: self.what.clone(), source }
    }

    fn status(&self, status: StatusCode) -> ProbeFailure {
        ProbeFailure::Status { port: self.port, what: self.what.clone(), status }
    }

    fn health(&self, answer: String) -> ProbeFailure {
        ProbeFailure::Health { port: self.port, what: self.what.clone(), answer }
    }
}

/// # Errors
/// What was seen instead.
pub(crate) async fn look(inside: &Inside, probe: &Probe) -> Result<(), ProbeFailure> {
    match &probe.handler {
        ProbeHandler::TcpSocket { .. } => ask(inside, probe, async |_, _| Ok(())).await,
        ProbeHandler::HttpGet { path, headers, port } => {
            // As Knative has it: where requests go, what is spoken to a server that may speak nothing else.
            let speaks_h2c = port.is_none_or(|port| port == inside.port()) && inside.protocol() == AppProtocol::H2c;
            ask(inside, probe, async |stream, port| {
                if speaks_h2c {
                    http::get_h2c(stream, port, path, headers).await
                } else {
                    http::get(stream, port, path, headers).await
                }
            })
            .await
        }
        ProbeHandler::Grpc { service, .. } => {
            ask(inside, probe, async |stream, port| grpc::check(stream, port, service).await).await
        }
        ProbeHandler::Exec { command } => command::run(inside, command, probe.timeout).await,
    }
}

/// What is asked over a connection.
async fn ask(
    inside: &Inside,
    probe: &Probe,
    ask: impl AsyncFnOnce(TcpStream, u16) -> Result<(), ProbeFailure>,
) -> Result<(), ProbeFailure> {
    let port = probe.handler.port().unwrap_or(inside.port());
    // That it takes time to have one is not the replica's fault.
    let socket = inside.socket().await.map_err(|source| ProbeFailure::NoSocket { source })?;
    let looking = async {
        let stream = inside.connect_by(socket, port).await.map_err(|source| match source.kind() {
            io::ErrorKind::ConnectionRefused => ProbeFailure::NothingListens { port },
            _ => ProbeFailure::Connect { port, source },
        })?;
        ask(stream, port).await
    };
    let longest = probe.timeout;
    timeout(longest, looking).await.unwrap_or(Err(ProbeFailure::Late { port, longest }))
}

#[cfg(test)]
pub(crate) mod tests;

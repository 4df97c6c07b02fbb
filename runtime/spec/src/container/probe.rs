use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::duration;

/// How it is seen that a container takes requests, or that it still does. Names and defaults are Kubernetes', but
/// for the period of one that starts: as with Knative, it is looked at as often as it takes for its first request
/// not to wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Probe {
    pub handler: ProbeHandler,
    /// Before the first look.
    #[serde(default, with = "duration::text")]
    pub initial_delay: Duration,
    /// Between two looks. Zero: as often as is sensible, until it takes requests first.
    #[serde(default, with = "duration::text")]
    pub period: Duration,
    /// The longest that an answer may take.
    #[serde(with = "duration::text")]
    pub timeout: Duration,
    /// Looks in a row that have to go well.
    pub success_threshold: u32,
    /// Looks in a row that have to fail, of a container that took requests before.
    #[serde(default = "failure_threshold_default")]
    pub failure_threshold: u32,
}

fn failure_threshold_default() -> u32 {
    Probe::FAILURE_THRESHOLD_DEFAULT
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum ProbeHandler {
    /// Something listens.
    TcpSocket {
        /// None: where requests go.
        port: Option<u16>,
    },
    /// A GET is answered with a status from 200 to 399.
    HttpGet {
        /// None: where requests go.
        port: Option<u16>,
        path: String,
        /// In their order.
        headers: Vec<(String, String)>,
    },
    /// `grpc.health.v1.Health/Check` is answered `SERVING`.
    Grpc {
        /// None: where requests go.
        port: Option<u16>,
        /// Empty: the server as a whole.
        service: String,
    },
    /// A command that is run in the container, as its process is, ends with status 0.
    Exec {
        /// The program and its arguments. One without a slash is looked for in the container's `PATH`.
        command: Vec<String>,
    },
}

impl ProbeHandler {
    /// None: where requests go, or nowhere.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::TcpSocket { port } | Self::HttpGet { port, .. } | Self::Grpc { port, .. } => *port,
            Self::Exec { .. } => None,
        }
    }

    /// Whether nothing that does not listen on `port`, where requests go, could answer it.
    #[must_use]
    pub fn asks(&self, port: u16) -> bool {
        !matches!(self, Self::Exec { .. }) && self.port().is_none_or(|asked| asked == port)
    }

    /// What is to be run, where it is looked so.
    #[must_use]
    pub fn command(&self) -> Option<&[String]> {
        match self {
            Self::Exec { command } => Some(command),
            Self::TcpSocket { .. } | Self::HttpGet { .. } | Self::Grpc { .. } => None,
        }
    }
}

impl Probe {
    /// Kubernetes' default.
    pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(1);
    /// Kubernetes' default, of a container that took requests before.
    pub const PERIOD_DEFAULT: Duration = Duration::from_secs(10);
    pub const FAILURE_THRESHOLD_DEFAULT: u32 = 3;

    /// Something listens where requests go.
    #[must_use]
    pub fn tcp() -> Self {
        Self::with(ProbeHandler::TcpSocket { port: None })
    }

    #[must_use]
    pub fn with(handler: ProbeHandler) -> Self {
        Self {
            handler,
            initial_delay: Duration::ZERO,
            period: Duration::ZERO,
            timeout: Self::TIMEOUT_DEFAULT,
            success_threshold: 1,
            failure_threshold: Self::FAILURE_THRESHOLD_DEFAULT,
        }
    }
}

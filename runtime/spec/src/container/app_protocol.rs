use std::fmt;

use serde::{Deserialize, Serialize};

/// What is spoken to a container, as Knative names it after its port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AppProtocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2 without TLS, by prior knowledge: what gRPC needs.
    H2c,
}

impl AppProtocol {
    pub(super) fn is_http1(&self) -> bool {
        *self == Self::Http1
    }
}

impl fmt::Display for AppProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http1 => "http1",
            Self::H2c => "h2c",
        })
    }
}

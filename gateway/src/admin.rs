//! The control plane: HTTP/1.1 and JSON under `/v1` on the daemon's Unix socket, and its client.
//!
//! One request a connection. Files of a model ride along as descriptors on the request's bytes, so
//! that they were opened by the caller with the caller's rights.

pub mod api;
mod client;
mod descriptors;
mod error;
mod lines;
mod locate;
mod logs;
mod peer;
mod server;
mod service;

pub use client::{Client, ClientError};
pub use error::AdminError;
pub use peer::Admission;
pub use server::serve;
pub use service::Admin;

/// The socket's name in the daemon's run directory.
pub const SOCKET_NAME: &str = "admin.sock";
/// The largest body of a request or of a document that answers it.
const DOCUMENT_BYTES_MAX: usize = 4 << 20;

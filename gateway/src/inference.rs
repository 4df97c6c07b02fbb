//! The data plane: clients' requests in, replicas' answers out.
//!
//! A request is routed, admitted, given a lease on a replica and passed on; both bodies stream and
//! are never parsed here. What is asked about models is answered from what their deploys told, so
//! that asking wakes nothing.
//!
//! What is for an image is passed on as it is, whatever it asks: the image speaks HTTP for itself.

mod ahead;
mod body_end;
mod client_stream;
mod connection;
mod destination;
mod documents;
mod end_to_end;
mod error;
mod exchange;
mod forwarded;
mod grant;
mod headers;
mod infer;
mod liveness;
mod metrics;
mod pace;
mod places;
mod pool;
mod replica_stream;
mod reply;
mod request_body;
mod request_id;
mod router;
mod send;
mod server;
mod service;
mod tunnel;

pub use error::InferenceError;
pub use server::serve;
pub use service::Gateway;

#[cfg(test)]
mod tests;

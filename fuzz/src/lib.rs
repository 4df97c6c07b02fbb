//! What holds for every parser of bytes that somebody else wrote, whatever the bytes are: one function
//! for each fuzz target. They assert properties, so a parser that accepts too much fails here as well
//! as one that panics.

mod config;
mod layer;
mod manifests;
mod messages;
mod v2;

pub use config::config;
pub use layer::layer;
pub use manifests::manifests;
pub use messages::{spawner_events, spawner_requests};
pub use v2::{binary_tensors, v2_requests};

//! Starts the real daemon for tests, talks to it, and sees that it leaves nothing behind.
//!
//! A [`Home`] is a pair of directories and a configuration; [`Home::start`] runs a [`Daemon`] in
//! it. Nothing here sleeps for a guessed time: [`wait::until`] looks at a condition until it holds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod bad_registry;
pub mod cli;
pub mod daemon;
pub mod endpoint;
pub mod fake;
pub mod home;
pub mod http;
pub mod http2;
pub mod machine_state;
pub mod metrics;
pub mod oci_image;
pub mod paths;
pub mod processes;
pub mod program_image;
pub mod registry;
pub mod round;
pub mod script;
pub mod scripted;
pub mod skopeo;
pub mod small_disk;
pub mod strace;
pub mod wait;

pub use bad_registry::{BadRegistry, Fault};
pub use cli::Told;
pub use daemon::Daemon;
pub use endpoint::Endpoint;
pub use home::Home;
pub use http::{Connection, Request, Response};
pub use registry::Registry;
pub use round::Round;
pub use script::Script;
pub use small_disk::SmallDisk;

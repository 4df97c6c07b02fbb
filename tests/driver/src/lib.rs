//! Drives a daemon's spawner through its real door: the test is the node.
//!
//! One program is everything around a test: the driver, the [`daemon`] that it starts, the [`node`]
//! that the daemon starts, and the [`worker`] in every container. The node hands its channel to the
//! driver and waits, so each test is one straight script in the driver, which can also kill any of
//! the others and look at the [`machine`] from outside.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod commands;
pub mod daemon;
pub mod images;
pub mod layers;
pub mod machine;
pub mod neighbourhood;
pub mod node;
pub mod script;
pub mod suite;
pub mod volumes;
pub mod worker;

pub use daemon::Daemon;
pub use node::Node;

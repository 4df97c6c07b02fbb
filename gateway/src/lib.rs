//! The network half and the process: what clients and operators talk to, and the program they start.
//!
//! [`inference`] is the data plane, [`admin`] the control plane, [`config`] what an operator wrote.
//! The program's parts are put together in two places: `commands` for each verb of the command line,
//! and [`node`] for the unprivileged process that serves.

mod accept;
pub mod admin;
mod commands;
pub mod config;
mod defence;
pub mod inference;
pub mod node;
mod status;

pub use commands::main;

//! One confined replica through the real door: this program is the daemon's spawner, and, executed
//! again by it, the node and the worker.
//!
//! The node half runs the script of a test over the channel; the worker half answers every
//! connection with what it finds inside its container.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod confinement_parts;

use std::process::ExitCode;

use confinement_parts::{cases, worker};

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("node") => cases::node(),
        Some("worker") => worker::serve(),
        _ => cases::run_all(),
    }
}

//! Runs the code that ships with the kernel failing it: at every file operation in turn, the process
//! is killed, a write is cut in half, or the kernel answers with an error.
//!
//! Nothing in the code under test knows of this. A test of the crate under test calls
//! [`at_every_call`]; its own test program is started anew for each round, with a seccomp filter
//! that tells a thread beside it of every file operation ([`watch`]). That thread lets it pass,
//! answers with an error in the kernel's place, or kills the process before it happens.
//!
//! The state after a kill just before one operation is the state after all operations before it, so
//! the rounds together are every moment at which a process can die. What of that had reached the
//! disk when the power is cut is not seen here: the order of writes and syncs that [`at_every_call`]
//! returns is, and tests assert it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod call;
mod rounds;
mod watch;

use std::{error::Error, path::Path};

pub use call::Call;
pub use rounds::{at_every_call, no_child_starts};

/// One operation on a directory, and what must hold after it, however it ends.
pub trait Experiment {
    /// Makes what is there before.
    fn prepare(&self, place: &Path);

    /// The operation. Done again after a fault has gone, it must succeed.
    ///
    /// # Errors
    /// Those of the operation.
    fn act(&self, place: &Path) -> Result<(), Box<dyn Error>>;

    /// Opens what is there anew and asserts what must hold.
    fn check(&self, place: &Path, end: End);
}

/// How an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Done,
    /// With an error, which names the place and the kernel's reason: that is asserted for all.
    Failed,
    /// It never came back.
    Killed,
}

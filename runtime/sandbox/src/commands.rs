//! Commands that are run in a container beside its process, to see how that does.
//!
//! Nobody enters a container that runs. What runs them is made with it: a fork of its first process from before that
//! became the image's, with all that confines it, which waits to be asked. Over one socket it is told numbers and
//! tells how a command ended. What the commands are was said when the container was made.

pub(crate) mod runner;

use serde::{Deserialize, Serialize};

/// Different ones of one container: whether it has started, takes requests, and lives.
pub const COMMANDS_MAX: usize = 3;
/// What is told of what one printed, in bytes; what was printed after that is dropped.
pub const OUTPUT_BYTES_MAX: usize = 1 << 10;

/// Node → container. Ends what was ordered before, of which nothing is told then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// Its report has the same.
    pub number: u64,
    /// Which of [`ImagePayload::commands`](crate::messages::ImagePayload::commands).
    pub command: usize,
    /// Then it is killed. Whatever it began ends with it, in time or not.
    pub timeout_ms: u64,
}

/// Container → node. It is untrusted: whoever takes the container over can tell anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    pub number: u64,
    pub outcome: Outcome,
    /// The beginning of what it printed, of both kinds. Bytes that are no UTF-8 are replaced.
    pub output: String,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// By itself. 127 where the image has no such program, 126 where it cannot be executed, and what it printed says so.
    Exited(i32),
    Killed {
        signal: i32,
    },
    TimedOut,
    /// No process was made of it, as at a limit of processes.
    NotStarted {
        reason: String,
    },
}

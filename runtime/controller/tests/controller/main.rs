//! The controller against a spawner that is played by the test: the real protocol over a real
//! socket pair, replicas that are Unix listeners, and a clock that is moved by hand.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod deploying;
mod ending;
mod failing;
mod logging;
mod node;
mod remembering;
mod replica;
mod serving;
mod sharing_memory;
mod spawner;
mod templates;
mod waking;

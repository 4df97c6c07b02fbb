//! The real daemon, end to end. Needs root, and what `make setup-test` fetched.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bad_input;
mod bombs;
mod clients;
mod command_line;
mod crash;
mod crash_safety;
mod deadlines;
mod deploy;
mod early;
mod either_version;
mod first_light;
mod freezing;
mod herd;
mod idle;
mod image_endpoints;
mod images;
mod logs;
mod node_restart;
mod pool;
mod prepared;
mod protocol;
mod rights;
mod rounds;
mod serve;
mod server;
mod silero;
mod structure;
mod system_calls;
mod telemetry;
mod templates;
mod tidy;
mod transcript;
mod why;

use dormouse_tests::Home;

/// The product's program.
const REAL: &str = env!("CARGO_BIN_EXE_dormouse-real");
/// The same, with a scripted worker.
const FAKE: &str = env!("CARGO_BIN_EXE_dormouse-fake");

fn real() -> Home {
    Home::of(REAL)
}

fn fake() -> Home {
    Home::of(FAKE)
}

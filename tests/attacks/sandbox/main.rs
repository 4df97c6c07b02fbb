//! Attacks on the sandbox: from inside a container, and as a node process that was taken over.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::process::ExitCode;

use dormouse_attacks::{Attack, suite};
use dormouse_driver::{daemon, machine};

const ATTACKS: &[Attack] = &[];

fn main() -> ExitCode {
    if let Some(missing) = daemon::missing() {
        eprintln!("attacks: {missing}");
        return ExitCode::FAILURE;
    }
    machine::adopt_orphans();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    suite::run(ATTACKS, &arguments, env!("CARGO_BIN_EXE_sandbox-defended"), env!("CARGO_BIN_EXE_sandbox-weakened"))
}

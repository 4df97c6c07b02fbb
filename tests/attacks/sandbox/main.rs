//! Attacks on the sandbox: from inside a container, and as a node process that was taken over.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bombs;
mod descriptors;
mod devices;
mod exposure;
mod kernel;
mod layers;
mod names;
mod proc;
mod program;
mod rights;
mod stage;
mod store;

use std::process::ExitCode;

use dormouse_attacks::{Attack, suite};
use dormouse_driver::{daemon, machine};

const ATTACKS: &[&[Attack]] = &[
    program::ATTACKS,
    descriptors::ATTACKS,
    store::ATTACKS,
    proc::ATTACKS,
    rights::ATTACKS,
    names::ATTACKS,
    exposure::ATTACKS,
    kernel::ATTACKS,
    devices::ATTACKS,
    bombs::ATTACKS,
    layers::ATTACKS,
];

/// Classes that are of what a container is, and hold of a server in the container of its template as well. The
/// others are of how a container is made, or are asked of the spawner.
const FORKED: &[u8] = &[1, 4, 6, 8, 12, 13, 14];

fn main() -> ExitCode {
    if let Some(missing) = daemon::missing() {
        eprintln!("attacks: {missing}");
        return ExitCode::FAILURE;
    }
    machine::adopt_orphans();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut attacks = ATTACKS.concat();
    attacks.sort_by_key(|attack| attack.class);
    let program = env!("CARGO_BIN_EXE_sandbox-defended");
    let defended = suite::Defended::Everywhere { program, forked: FORKED };
    suite::run(&attacks, &arguments, defended, stage::WEAKENED)
}

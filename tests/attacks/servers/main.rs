//! Attacks on a template and on the servers that were forked of it, by one of these servers.
//!
//! What confines it is the product's own worker. It has to be told what to do there, so it is the
//! weakened build in every case, and where everything stands nothing else is different.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod channel;
mod files;
mod group;
mod memory;
mod processes;
mod stage;

use std::process::ExitCode;

use dormouse_attacks::{Attack, suite};
use dormouse_driver::{daemon, machine};

/// Its class in docs/threat-model.md.
const CLASS: u8 = 17;

const ATTACKS: &[&[Attack]] = &[memory::ATTACKS, processes::ATTACKS, files::ATTACKS, channel::ATTACKS, group::ATTACKS];

fn main() -> ExitCode {
    if let Some(missing) = daemon::missing() {
        eprintln!("attacks: {missing}");
        return ExitCode::FAILURE;
    }
    machine::adopt_orphans();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    suite::run(&ATTACKS.concat(), &arguments, suite::Defended::Program(stage::PROGRAM), stage::PROGRAM)
}

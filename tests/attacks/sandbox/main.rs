//! Attacks on the sandbox: from inside a container, and as a node process that was taken over.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bombs;
mod descriptors;
mod devices;
mod exposure;
mod host;
mod kernel;
mod layers;
mod names;
mod proc;
mod program;
mod rights;
mod stage;
mod store;
mod volumes;

use std::process::ExitCode;

use dormouse_attacks::{Attack, Replicas, suite};
use dormouse_driver::{daemon, machine};

const ATTACKS: &[&[Attack]] = &[
    program::ATTACKS,
    descriptors::ATTACKS,
    store::ATTACKS,
    proc::ATTACKS,
    rights::ATTACKS,
    names::ATTACKS,
    exposure::ATTACKS,
    host::ATTACKS,
    kernel::ATTACKS,
    devices::ATTACKS,
    bombs::ATTACKS,
    layers::ATTACKS,
    volumes::ATTACKS,
];

/// Classes that are of what a container is, and hold of a server in the container of its template as well. The
/// others are of how a container is made, or are asked of the spawner.
const FORKED: &[u8] = &[1, 4, 6, 8, 12, 13, 14];

/// What is made from a process of an image as well. The others are of what only workers have, a model, blanks, a program
/// that all share; or have no control: to take its groups, libcontainer itself looks whether /proc is the kernel's, and the
/// machine may give the spawner itself no more descriptors than an image may have.
const IMAGE: &[&str] = &[
    "take a client's connection",
    "reach the host through a descriptor",
    "read masked files of /proc",
    "set what /proc lets a process set of itself",
    "write where only the container's root may",
    "find neighbours in /sys",
    "system calls that open the kernel",
    "open a device that is not allowed",
    "a bomb of threads",
    "a bomb of memory",
    "a hog of processors",
    "a filler of disks",
];

/// What only an image has: calls for sockets, a way out, a working directory.
const IMAGE_ALONE: &[&str] = &[
    "connect to a socket of the host's",
    "connect to the node through its outbound network",
    "a working directory that climbs out of its volume",
];

fn replicas(attack: &Attack) -> Vec<Replicas> {
    if IMAGE_ALONE.contains(&attack.name) {
        return vec![Replicas::Image];
    }
    let forked = FORKED.contains(&attack.class).then_some(Replicas::Forked);
    let image = IMAGE.contains(&attack.name).then_some(Replicas::Image);
    [Replicas::Created, Replicas::Claimed].into_iter().chain(forked).chain(image).collect()
}

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
    let defended = suite::Defended::From { program, replicas };
    suite::run(&attacks, &arguments, defended, stage::WEAKENED)
}

//! Control groups and device policies against the kernel of this machine, whichever version of
//! control groups it has. Needs root and nothing but /proc, /sys and /dev.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod children;
mod device_policy;
mod ending;
mod fixture;
mod joining;
mod limits;

use std::{panic, process::ExitCode};

const TESTS: &[(&str, fn())] = &[
    ("limits::are_read_back_and_change_live", limits::are_read_back_and_change_live),
    ("limits::too_many_processes_are_refused", limits::too_many_processes_are_refused),
    ("limits::too_much_memory_is_an_out_of_memory_kill", limits::too_much_memory_is_an_out_of_memory_kill),
    ("limits::one_that_is_refused_leaves_no_group", limits::one_that_is_refused_leaves_no_group),
    ("joining::shows_in_every_hierarchy", joining::shows_in_every_hierarchy),
    ("joining::ends_with_the_entrance", joining::ends_with_the_entrance),
    ("joining::is_refused_in_a_group_of_another", joining::is_refused_in_a_group_of_another),
    ("ending::a_frozen_group_is_killed", ending::a_frozen_group_is_killed),
    ("ending::a_group_that_forks_is_killed", ending::a_group_that_forks_is_killed),
    ("ending::removal_waits_for_the_last_process", ending::removal_waits_for_the_last_process),
    ("ending::leftovers_are_listed_and_swept", ending::leftovers_are_listed_and_swept),
    ("ending::what_is_left_in_part_is_swept", ending::what_is_left_in_part_is_swept),
    ("device_policy::of_a_replica_is_enforced", device_policy::of_a_replica_is_enforced),
    ("device_policy::of_v1_is_read_back", device_policy::of_v1_is_read_back),
    ("device_policy::by_program_is_enforced", device_policy::by_program_is_enforced),
    ("device_policy::by_program_only_narrows", device_policy::by_program_only_narrows),
    ("device_policy::is_not_promised_to_the_unprivileged", device_policy::is_not_promised_to_the_unprivileged),
];

/// Runs the tests whose names contain one of the arguments, or all of them; `--list` names them.
fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        TESTS.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    assert!(nix::unistd::geteuid().is_root(), "needs root");
    let filters: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let is_asked = |name: &str| filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()));
    let mut failed = 0;
    for (name, test) in TESTS.iter().filter(|(name, _)| is_asked(name)) {
        let result = panic::catch_unwind(test);
        println!("test {name} ... {}", if result.is_ok() { "ok" } else { "FAILED" });
        failed += usize::from(result.is_err());
    }
    println!("{failed} of {} failed", TESTS.iter().filter(|(name, _)| is_asked(name)).count());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

//! A replica that prints without end.

use std::fs;

use dormouse_attacks::{Ground, Outcome};
use dormouse_tests::{Daemon, Script, script::Infer, wait::until_true};

use crate::target::home;

const FILE_BYTES_MAX: u64 = 64 << 10;
const LINE_BYTES: usize = 1 << 10;
/// Many times what the files hold.
const LINES: usize = 2_000;

/// What a replica prints goes over the node process to the disk of the machine.
pub(crate) fn flood(ground: &Ground) -> Outcome {
    let program = match ground.environment.is_empty() {
        true => env!("CARGO_BIN_EXE_printing-defended"),
        false => env!("CARGO_BIN_EXE_printing-weakened"),
    };
    let ground = Ground { program: program.into(), ..ground.clone() };
    let daemon = home(&ground).set("endpoint.logs", "file_bytes_max", &FILE_BYTES_MAX.to_string()).start();
    let script = Script::echo().infer(Infer::Print { lines: LINES, bytes: LINE_BYTES });
    let endpoint = daemon.deploy_fake("m", script, &[]);
    endpoint.check_echo(1);
    let last = format!("{:0width$}", LINES - 1, width = LINE_BYTES);
    until_true("the last line is written down", || daemon.cli(&["logs", "m"]).ok().stdout.contains(&last));
    let largest = largest_log(&daemon);
    let seen = format!("{} KiB printed, the largest file has {} KiB", (LINES * LINE_BYTES) >> 10, largest >> 10);
    if largest <= FILE_BYTES_MAX { Outcome::Stopped(seen) } else { Outcome::GotThrough(seen) }
}

fn largest_log(daemon: &Daemon) -> u64 {
    let logs = fs::read_dir(daemon.home().run().join("logs")).unwrap();
    logs.map(|entry| entry.unwrap().metadata().unwrap().len()).max().unwrap_or_default()
}

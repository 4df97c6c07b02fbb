//! The worker as a program of its own, for tests and measurements. What is installed is `dormouse worker`, which
//! takes the same arguments.

use std::process::ExitCode;

use dormouse_worker::{WorkerArgs, run};

/// Exit code of a wrong command line.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    match WorkerArgs::parse(std::env::args_os().skip(1)) {
        Ok(args) => run(args),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(EXIT_USAGE)
        }
    }
}

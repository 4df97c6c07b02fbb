use std::{ffi::OsString, process::ExitCode};

use dormouse_worker::WorkerArgs;

/// As clap exits where the command line cannot be parsed.
const WRONG_USAGE: u8 = 2;

/// The arguments of `dormouse worker`, where that is what was called.
pub(super) fn arguments(mut arguments: Vec<OsString>) -> Option<Vec<OsString>> {
    if arguments.first()? != "worker" {
        return None;
    }
    arguments.remove(0);
    Some(arguments)
}

/// What runs in a container: one model, one socket.
pub(super) fn run(arguments: Vec<OsString>) -> ExitCode {
    match WorkerArgs::parse(arguments) {
        Ok(arguments) => dormouse_worker::run(arguments),
        Err(error) => {
            eprintln!("dormouse worker: {error}");
            WRONG_USAGE.into()
        }
    }
}

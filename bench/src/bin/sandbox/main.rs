//! The sandbox without the rest of a daemon: this program is the daemon, its node, and what runs in its containers.
//!
//! Each line on standard input asks for one sample; the answer is a line. At the end of the input everything ends.

mod creations;
mod layers;

use std::{error::Error, io::Read, process::ExitCode};

use dormouse_driver::{machine, node, worker};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        // Before anything else: this is the first instruction that is waited for.
        Some("worker") => {
            worker::say(b"B");
            worker::say(worker::READY);
            stay();
            ExitCode::SUCCESS
        }
        Some("daemon") => dormouse_driver::run_daemon!(dormouse_sandbox, &arguments),
        Some("node") => node::main(),
        Some("creations") => {
            machine::adopt_orphans();
            creations::drive();
            ExitCode::SUCCESS
        }
        Some("layers") => {
            machine::adopt_orphans();
            told(layers::drive(arguments.get(1..).unwrap_or_default()))
        }
        _ => {
            eprintln!("dormouse-bench-sandbox: {arguments:?} is nothing that it can be; dormouse-bench starts it");
            ExitCode::FAILURE
        }
    }
}

fn told(result: Result<(), Box<dyn Error>>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    eprintln!("dormouse-bench-sandbox: {error}");
    ExitCode::FAILURE
}

/// Until whoever heard the word closes the channel, or kills: one that is gone at once might be missed.
fn stay() {
    let stdin = std::io::stdin();
    // The spawner's end of a channel, and so this one, waits for nothing.
    if rustix::io::ioctl_fionbio(&stdin, false).is_ok() {
        while stdin.lock().read(&mut [0]).is_ok_and(|bytes| bytes > 0) {}
    }
}

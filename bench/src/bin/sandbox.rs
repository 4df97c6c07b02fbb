//! Times creations of sandboxes alone: this program is the daemon, its node, and what runs in its containers.
//!
//! Each line on standard input asks for one; the answer is a line with the microseconds from the request to the
//! payload's first word. At the end of the input everything ends.

use std::{
    io::{BufRead, Read, Write},
    process::ExitCode,
    time::Instant,
};

use dormouse_driver::{Daemon, machine, node, script, worker};
use dormouse_sandbox::messages::Event;

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
        Some(other) => {
            eprintln!("dormouse-bench-sandbox: `{other}` is nothing that it can be; it is started by dormouse-bench");
            ExitCode::FAILURE
        }
        None => drive(),
    }
}

/// Until whoever heard the word closes the channel, or kills: one that is gone at once might be missed.
fn stay() {
    let stdin = std::io::stdin();
    // The spawner's end of a channel, and so this one, waits for nothing.
    if rustix::io::ioctl_fionbio(&stdin, false).is_ok() {
        while stdin.lock().read(&mut [0]).is_ok_and(|bytes| bytes > 0) {}
    }
}

fn drive() -> ExitCode {
    machine::adopt_orphans();
    let mut daemon = Daemon::start();
    let mut node = daemon.node();
    for (serial, _) in (1..).zip(std::io::stdin().lock().lines()) {
        let spec = script::replica_of("payload", serial);
        let begun = Instant::now();
        node.create(&spec);
        let started = node.created(&spec.replica);
        let said = node.of(&spec.replica);
        let took = begun.elapsed();
        assert!(matches!(said, Event::Ready { .. }), "{}", script::read_log(started.log));
        node.stop(&spec.replica, 0);
        node.exit_cause(&spec.replica);
        println!("{}", took.as_micros());
        let _ = std::io::stdout().flush();
    }
    daemon.end(node);
    ExitCode::SUCCESS
}

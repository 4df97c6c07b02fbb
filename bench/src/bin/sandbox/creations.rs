//! Creations: the answer is the microseconds from the request to the payload's first word.

use std::{
    io::{BufRead, Write},
    time::Instant,
};

use dormouse_driver::{Daemon, script};
use dormouse_sandbox::messages::Event;

pub(crate) fn drive() {
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
}

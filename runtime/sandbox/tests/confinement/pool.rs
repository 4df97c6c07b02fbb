//! Blanks: what they are before they are claimed, and what can happen to them.

use std::{fs, os::unix::fs::PermissionsExt};

use dormouse_driver::{
    daemon::{BLANK_MEMORY, Daemon, UID_BASE, UID_COUNT},
    machine::{self, status_of, until},
    node::{Node, Started},
    script::{model, replica_of},
};
use dormouse_sandbox::messages::{Event, Origin};
use dormouse_spec::Bytes;
use rustix::process::{Pid, Signal, kill_process};

fn with_blanks(count: u32) -> (Daemon, Node) {
    let mut daemon = Daemon::start_with(|settings| settings.pool = count);
    let mut node = daemon.node();
    node.wait_for_blanks(count);
    (daemon, node)
}

/// The only process of a blank, once the child that made it has left.
fn process_of(daemon: &Daemon, blank: u64) -> i32 {
    let mut processes = Vec::new();
    until("a blank is one process", || {
        processes = machine::processes_of(&daemon.group(), &format!("blank-{blank}"));
        processes.len() == 1
    });
    processes[0]
}

fn blank_of(started: &Started) -> Option<u64> {
    match started.origin {
        Origin::Claimed(claim) => Some(claim.blank),
        Origin::Created(_) | Origin::Forked(_) => None,
    }
}

pub(crate) fn a_blank_becomes_a_replica_where_it_is() {
    let (daemon, mut node) = with_blanks(1);
    let pid = process_of(&daemon, 1);
    let limit = |file| machine::interface_of(&daemon.group(), "blank-1", ("memory", file), "memory.max");
    assert_eq!(limit("memory.limit_in_bytes"), BLANK_MEMORY.get().to_string());
    let spec = replica_of("claims", 1);
    let started = node.start(&spec);
    assert_eq!(blank_of(&started), Some(1));
    assert_eq!(machine::process(&daemon.group(), &spec.replica), pid, "the same process");
    assert_eq!(limit("memory.limit_in_bytes"), spec.limits.memory.get().to_string());
    assert_eq!(node.call(&spec.replica, "hostname"), "dormouse");
    // What it was given is all it has: no directory of models was ever in it.
    assert_eq!(node.call(&spec.replica, "list /mnt/models"), "");
    // The next one is made, and is another's.
    let next = replica_of("claims-too", 1);
    node.wait_for_blanks(1);
    assert_eq!(blank_of(&node.start(&next)), Some(2));
    let uids = [&spec, &next].map(|spec| status_of(machine::process(&daemon.group(), &spec.replica), "Uid:"));
    assert_ne!(uids[0], uids[1]);
    let uid: u32 = uids[0].split_whitespace().next().unwrap().parse().unwrap();
    assert!((UID_BASE..UID_BASE + UID_COUNT).contains(&uid), "{uid}");
    daemon.end(node);
}

pub(crate) fn what_does_not_fit_is_created() {
    let (daemon, mut node) = with_blanks(1);
    let mut small = replica_of("small", 1);
    small.limits.memory = Bytes::new(BLANK_MEMORY.get() - 4096);
    let mut other_tmp = replica_of("other-tmp", 1);
    other_tmp.limits.tmp = Bytes::from_mebibytes(2);
    for spec in [&small, &other_tmp] {
        assert_eq!(blank_of(&node.start(spec)), None, "{}", spec.replica);
    }
    // A model of two files can only be mounted.
    let stored = daemon.settings.data.join("models").join(model().directory_name());
    fs::set_permissions(&stored, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(stored.join("weights.bin"), "external data").unwrap();
    let external = replica_of("external", 1);
    assert_eq!(blank_of(&node.start(&external)), None);
    assert_eq!(node.call(&external.replica, "list /mnt/models"), "model.onnx weights.bin");
    assert!(process_of(&daemon, 1) > 0, "the blank still waits");
    daemon.end(node);
}

pub(crate) fn a_dead_blank_is_replaced_and_costs_nobody_a_replica() {
    let (daemon, mut node) = with_blanks(1);
    kill_process(Pid::from_raw(process_of(&daemon, 1)).unwrap(), Signal::KILL).unwrap();
    let spec = replica_of("plain", 1);
    node.create(&spec);
    // Whether it was seen to be dead already: created then, or claimed, and dead; and another works.
    let origin = node.created(&spec.replica).origin;
    if let Event::Exited { .. } = node.of(&spec.replica) {
        assert!(matches!(origin, Origin::Claimed(claim) if claim.blank == 1), "{origin:?}");
        node.start(&replica_of("plain", 2));
    }
    until("another blank waits", || {
        node.take_in();
        machine::processes_of(&daemon.group(), "blank-2").len() == 1
    });
    node.wait_for_blanks(1);
    assert_eq!(blank_of(&node.start(&replica_of("plain", 3))), Some(2));
    until("nothing of the first is left", || machine::processes_of(&daemon.group(), "blank-1").is_empty());
    daemon.end(node);
}

pub(crate) fn a_burst_takes_what_there_is_and_the_rest_is_created() {
    let (daemon, mut node) = with_blanks(2);
    let specs: Vec<_> = (1..=5).map(|serial| replica_of("burst", serial)).collect();
    for spec in &specs {
        node.ask(&dormouse_sandbox::messages::Request::Create(Box::new(spec.clone())));
    }
    let mut claimed = Vec::new();
    for spec in &specs {
        claimed.extend(blank_of(&node.created(&spec.replica)));
        assert!(matches!(node.of(&spec.replica), Event::Ready { .. }));
        assert_eq!(node.call(&spec.replica, "hostname"), "dormouse");
    }
    assert_eq!(claimed, [1, 2]);
    node.wait_for_blanks(2);
    daemon.end(node);
}

pub(crate) fn blanks_outlive_the_node() {
    let (mut daemon, node) = with_blanks(1);
    let pid = process_of(&daemon, 1);
    node.signal(Signal::KILL);
    drop(node);
    let mut node = daemon.node();
    node.wait_for_blanks(1);
    assert!(node.adopted.is_empty(), "a blank is nobody's replica");
    let spec = replica_of("plain", 1);
    assert_eq!(blank_of(&node.start(&spec)), Some(1));
    assert_eq!(machine::process(&daemon.group(), &spec.replica), pid);
    daemon.end(node);
}

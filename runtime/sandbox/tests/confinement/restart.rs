//! Nodes that end, and nodes that are ended: replicas and listeners outlive both.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    os::{fd::OwnedFd, unix::process::ExitStatusExt},
    process::Command,
};

use dormouse_sandbox::messages::{PROTOCOL_VERSION, Premade, ReplicaState, Request, Work};
use rustix::process::Signal;

use dormouse_driver::{
    daemon::{Daemon, is_forked},
    machine::{self, is_readable, status_of, until},
    script::{read_log, replica_of},
};

pub(crate) fn a_killed_node_finds_its_replicas() {
    let mut daemon = Daemon::start();
    let mut node = daemon.node();
    let (ready, frozen) = (replica_of("ready", 1), replica_of("frozen", 1));
    let mut before = [&ready, &frozen].map(|spec| {
        let started = node.start(spec);
        (spec.clone(), started.started_at_ms, machine::process(&daemon.group(), &spec.replica))
    });
    node.freeze(&frozen.replica);
    let first = node.pid();
    node.signal(Signal::KILL);
    node.wait_until_closed();
    drop(node);

    let mut node = daemon.node();
    assert_ne!(node.pid(), first);
    assert_eq!(status_of(node.pid(), "CapEff:"), "0000000000000000");
    let (mut adopted, templates): (Vec<_>, Vec<_>) = std::mem::take(&mut node.adopted)
        .into_iter()
        .partition(|(report, _)| !matches!(report.spec.work(), Some(Work::Template { .. })));
    assert_eq!(templates.len(), if is_forked() { before.len() } else { 0 });
    assert!(templates.iter().all(|(report, _)| report.state == ReplicaState::Ready));
    adopted.sort_by(|(one, _), (other, _)| one.spec.replica.cmp(&other.spec.replica));
    before.sort_by(|(one, ..), (other, ..)| one.replica.cmp(&other.replica));
    assert_eq!(adopted.len(), before.len());
    for ((report, log), (spec, started_at_ms, pid)) in adopted.into_iter().zip(before) {
        let expected = match report.spec.work() {
            Some(Work::Fork { template }) if is_forked() => {
                spec.clone().with_work(Work::Fork { template: template.clone() })
            }
            _ => spec.clone(),
        };
        assert_eq!(report.spec, expected);
        assert_eq!(report.started_at_ms, started_at_ms);
        let told = report.premade.map_or_else(|| spec.replica.to_string(), Premade::name);
        assert_eq!(told, machine::group_of(&daemon.group(), &spec.replica));
        assert_eq!(machine::process(&daemon.group(), &spec.replica), pid, "the same process lives");
        if report.state == ReplicaState::Frozen {
            assert_eq!(spec.replica, frozen.replica);
            node.thaw(&spec.replica);
        } else {
            assert_eq!((report.state, &spec.replica), (ReplicaState::Ready, &ready.replica));
        }
        assert_eq!(node.call(&spec.replica, "say still here"), "said");
        node.stop(&spec.replica, 0);
        node.exit_cause(&spec.replica);
        assert_eq!(read_log(log), "still here\n", "its log reached the new node");
    }
    daemon.end(node);
}

pub(crate) fn what_a_node_leaves_behind_ends_with_it() {
    let mut daemon = Daemon::start();
    let mut node = daemon.node();
    // As what it forks would be: in its group, whoever its parent is.
    let mut left = Command::new("sleep").arg("1000").spawn().unwrap();
    fs::write(machine::list_of(&daemon.group(), "node"), left.id().to_string()).unwrap();
    node.signal(Signal::KILL);
    node.wait_until_closed();
    drop(node);
    let node = daemon.node();
    assert_eq!(left.wait().unwrap().signal(), Some(Signal::KILL.as_raw()));
    daemon.end(node);
}

pub(crate) fn no_connection_is_lost_without_a_node() {
    let mut daemon = Daemon::start();
    let mut node = daemon.node();
    let address = gateway(&mut node.listeners).local_addr().unwrap();
    node.signal(Signal::KILL);
    node.wait_until_closed();
    // With it go the driver's duplicates: only the daemon holds the listener now.
    drop(node);
    let client = TcpStream::connect(address).unwrap();

    let mut node = daemon.node();
    let gateway = gateway(&mut node.listeners);
    assert_eq!(gateway.local_addr().unwrap(), address);
    assert!(is_readable(std::os::fd::AsFd::as_fd(&gateway)), "the connection waits");
    let (_, peer) = gateway.accept().unwrap();
    assert_eq!(peer, client.local_addr().unwrap());
    daemon.end(node);
}

fn gateway(listeners: &mut Vec<OwnedFd>) -> TcpListener {
    listeners.remove(0).into()
}

pub(crate) fn a_node_that_does_not_say_hello_is_replaced() {
    let mut daemon = Daemon::start();
    let mut rude = daemon.next_node();
    rude.create(&replica_of("plain", 1));
    // Too late.
    rude.ask(&Request::Hello { version: PROTOCOL_VERSION });
    rude.wait_until_closed();
    until("it is gone", || !machine::is_running(rude.pid()));
    drop(rude);
    let node = daemon.node();
    assert!(node.adopted.is_empty(), "nothing was made for it");
    assert!(daemon.stderr().is_empty(), "{}", daemon.stderr());
    daemon.end(node);
}

pub(crate) fn a_node_of_another_version_is_replaced() {
    let mut daemon = Daemon::start();
    let mut other = daemon.next_node();
    other.ask(&Request::Hello { version: PROTOCOL_VERSION + 1 });
    other.wait_until_closed();
    drop(other);
    let node = daemon.node();
    daemon.end(node);
}

pub(crate) fn a_node_that_breaks_the_protocol_is_replaced() {
    let mut daemon = Daemon::start();
    let mut node = daemon.node();
    let spec = replica_of("plain", 1);
    node.start(&spec);
    node.send_bytes(br#"{"request":"mount","path":"/"}"#);
    node.wait_until_closed();
    drop(node);
    let node = daemon.node();
    assert_eq!(node.adopted.len(), 1, "its replica outlives it");
    assert_eq!(node.call(&spec.replica, "hostname"), "dormouse");
    daemon.end(node);
}

/// A real-time signal has no name; the daemon must not stumble over it.
pub(crate) fn a_node_killed_by_any_signal_is_replaced() {
    let mut daemon = Daemon::start();
    let mut node = daemon.node();
    let real_time = nix::libc::SIGRTMIN() + 3;
    // SAFETY: a signal to a process that this test started.
    assert_eq!(unsafe { nix::libc::kill(node.pid(), real_time) }, 0);
    node.wait_until_closed();
    drop(node);
    let node = daemon.node();
    daemon.end(node);
}

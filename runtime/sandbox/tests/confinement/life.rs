//! The life of a replica, from its creation to its end.

use std::os::unix::net::UnixStream;

use dormouse_sandbox::messages::{Event, ExitCause, Request};

use crate::worker;
use dormouse_driver::{
    daemon::{Daemon, UID_BASE, UID_COUNT},
    machine::{self, status_of, until},
    script::{answer, call_fatally, converse, read_log, replica, replica_of},
};

/// Long enough to be frozen in the middle.
const WAIT_MS: u32 = 1_000;

/// The kernel may choose any process of a group that is out of memory: here one that is no part of the
/// payload, so that nothing the payload may do matters.
pub(crate) fn one_process_out_of_memory_ends_all() {
    let mut daemon = Daemon::start();
    let mut node = daemon.node();
    let spec = replica();
    node.start(&spec);
    let entrance = machine::groups(&daemon.group())
        .into_iter()
        .map(|group| group.join(spec.replica.as_str()))
        .find(|group| group.join("memory.stat").exists())
        .expect("a group with memory")
        .join("cgroup.procs");
    let script = "echo 0 > \"$0\" && echo 1000 > /proc/self/oom_score_adj && x=xxxxxxxx && while :; do x=$x$x; done";
    let eater = std::process::Command::new("sh").args(["-c", script]).arg(&entrance).status().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&eater), Some(nix::libc::SIGKILL));
    let cause = node.exit_cause(&spec.replica);
    assert_eq!(cause, ExitCause::OutOfMemory { limit_bytes: spec.limits.memory.get() });
    daemon.end(node);
}

pub(crate) fn endpoints_never_share_a_uid() {
    let home = tempfile::tempdir().unwrap();
    let mut settings = dormouse_driver::daemon::Settings::under(home.path());
    dormouse_driver::script::store_model(&settings.data);
    settings.ephemeral = false;
    // Who is not written down gives the uid back, so the node that this test stands in for has done it.
    let desired = settings.data.join("endpoints");
    std::fs::create_dir_all(&desired).unwrap();
    for endpoint in ["one", "other"] {
        std::fs::write(desired.join(format!("{endpoint}.json")), "{}").unwrap();
    }
    let specs = [replica_of("one", 1), replica_of("one", 2), replica_of("other", 1)];
    let endpoints = settings.data.join("endpoints");
    std::fs::create_dir_all(&endpoints).unwrap();
    for deployed in ["one", "other"] {
        std::fs::write(endpoints.join(format!("{deployed}.json")), "as a node writes it").unwrap();
    }
    let uids_of_a_life = || {
        let mut daemon = Daemon::launch(settings.clone());
        let mut node = daemon.node();
        let uids = specs.each_ref().map(|spec| {
            node.start(spec);
            let uids = status_of(machine::process(&daemon.group(), &spec.replica), "Uid:");
            let uids: Vec<u32> = uids.split_whitespace().map(|uid| uid.parse().unwrap()).collect();
            assert_eq!(uids, [uids[0]; 4]);
            uids[0]
        });
        daemon.end(node);
        uids
    };
    let [one, same, other] = uids_of_a_life();
    assert_eq!(one, same);
    assert_ne!(one, other);
    for uid in [one, other] {
        assert!((UID_BASE + 1..UID_BASE + UID_COUNT).contains(&uid), "{uid} is no endpoint's");
    }
    assert_eq!(uids_of_a_life(), [one, same, other], "an endpoint keeps its uid");
    std::fs::remove_file(desired.join("one.json")).unwrap();
    let [renewed, _, kept] = uids_of_a_life();
    assert_ne!(renewed, one, "it was given back when its node ended");
    assert_eq!(kept, other);
}

pub(crate) fn a_connection_to_a_frozen_replica_waits() {
    let mut daemon = Daemon::start();
    let mut node = daemon.node();
    let spec = replica();
    let started = node.start(&spec);
    node.freeze(&spec.replica);
    let connection = UnixStream::connect(node.socket(&spec.replica)).unwrap();
    let asked = std::thread::spawn(move || converse(&connection, "hostname"));
    // Frozen twice is frozen.
    node.freeze(&spec.replica);
    assert!(!asked.is_finished());
    node.thaw(&spec.replica);
    assert_eq!(asked.join().unwrap(), "dormouse");
    assert!(started.started_at_ms > 0);
    daemon.end(node);
}

/// The kernel restarts an interrupted wait by a system call of its own, which a filter sees too.
pub(crate) fn a_wait_goes_on_after_a_thaw() {
    let mut daemon = Daemon::start();
    let mut node = daemon.node();
    let spec = replica();
    node.start(&spec);
    let pid = machine::process(&daemon.group(), &spec.replica);
    let connection = UnixStream::connect(node.socket(&spec.replica)).unwrap();
    let waits = std::thread::spawn(move || converse(&connection, &format!("wait {WAIT_MS}")));
    until("the worker waits", || machine::waits_for_a_lock(pid));
    node.freeze(&spec.replica);
    node.thaw(&spec.replica);
    assert_eq!(waits.join().unwrap(), "ETIMEDOUT");
    daemon.end(node);
}

pub(crate) fn a_frozen_replica_is_stopped() {
    let mut daemon = Daemon::start();
    let mut node = daemon.node();
    for (serial, grace_ms) in [(1, 0), (2, 60_000)] {
        let spec = replica_of("plain", serial);
        let log = node.start(&spec).log;
        node.freeze(&spec.replica);
        node.stop(&spec.replica, grace_ms);
        assert_eq!(node.exit_cause(&spec.replica), ExitCause::Stopped);
        let told = if grace_ms == 0 { "" } else { worker::TOLD_TO_END };
        assert_eq!(read_log(log), told, "grace of {grace_ms} ms");
    }
    daemon.end(node);
}

pub(crate) fn stop_asks_then_kills() {
    let mut daemon = Daemon::start();
    let mut node = daemon.node();
    let spec = replica_of(worker::IGNORES_SIGTERM, 1);
    let log = node.start(&spec).log;
    node.stop(&spec.replica, 2_000);
    assert_eq!(node.exit_cause(&spec.replica), ExitCause::Stopped);
    assert_eq!(read_log(log), worker::TOLD_TO_END, "it was asked, and did not do it");
    daemon.end(node);
}

pub(crate) fn stop_reaches_a_replica_that_is_being_made() {
    let mut daemon = Daemon::start();
    let mut node = daemon.node();
    // Within the latter nobody would wait for the end of one that was not asked once it could hear.
    for (serial, grace_ms) in [(1, 0), (2, 200_000)] {
        let spec = replica_of("plain", serial);
        node.create(&spec);
        node.stop(&spec.replica, grace_ms);
        let cause = loop {
            match node.of(&spec.replica) {
                Event::Created { .. } | Event::Ready { .. } => {}
                Event::Exited { cause, .. } => break cause,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(cause, ExitCause::Stopped);
        assert_eq!(node.of(&spec.replica), Event::Removed { replica: spec.replica });
    }
    daemon.end(node);
}

pub(crate) fn a_crash_is_told_from_an_excess_of_memory() {
    let mut daemon = Daemon::start();
    let mut node = daemon.node();
    let limit_bytes = replica().limits.memory.get();
    let fatal = [
        ("exit 3", ExitCause::Code { code: 3 }),
        ("exit 0", ExitCause::Code { code: 0 }),
        ("fault", ExitCause::Signal { signal: nix::libc::SIGSEGV }),
        ("eat", ExitCause::OutOfMemory { limit_bytes }),
    ];
    for (serial, (command, cause)) in (1..).zip(fatal) {
        let spec = replica_of("plain", serial);
        node.start(&spec);
        call_fatally(&node.socket(&spec.replica), command);
        assert_eq!(node.exit_cause(&spec.replica), cause, "{command}");
    }
    // Killed from outside, with memory to spare.
    let spec = replica_of("plain", 9);
    node.start(&spec);
    let pid = nix::unistd::Pid::from_raw(machine::process(&daemon.group(), &spec.replica));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    assert_eq!(node.exit_cause(&spec.replica), ExitCause::Signal { signal: nix::libc::SIGKILL });
    daemon.end(node);
}

pub(crate) fn a_model_that_does_not_load_tells_why() {
    let mut daemon = Daemon::start();
    let mut node = daemon.node();
    let spec = replica_of(worker::FAILS_TO_LOAD, 1);
    node.create(&spec);
    node.created(&spec.replica);
    let reason = worker::LOAD_REASON.to_owned();
    assert_eq!(node.of(&spec.replica), Event::LoadFailed { replica: spec.replica.clone(), reason });
    assert_eq!(node.exit_cause(&spec.replica), ExitCause::Code { code: 1 });
    daemon.end(node);
}

/// It may be gone before the child that made it has reported it.
pub(crate) fn a_payload_may_die_at_once() {
    let mut daemon = Daemon::start();
    let mut node = daemon.node();
    for serial in 1..=5 {
        let spec = replica_of(worker::DIES_AT_ONCE, serial);
        node.create(&spec);
        node.created(&spec.replica);
        assert_eq!(node.exit_cause(&spec.replica), ExitCause::Code { code: worker::EXIT_AT_ONCE });
    }
    daemon.end(node);
}

/// It is as one that says nothing, and is ended by whoever waits for it.
pub(crate) fn a_worker_that_lies_about_its_loading_is_not_ready() {
    let mut daemon = Daemon::start();
    let mut node = daemon.node();
    let lies = replica_of(worker::LIES, 1);
    node.create(&lies);
    node.created(&lies.replica);
    assert_eq!(node.call(&lies.replica, "hostname"), "dormouse", "it has said what it says");
    node.stop(&lies.replica, 0);
    assert_eq!(node.exit_cause(&lies.replica), ExitCause::Stopped, "nothing was told in between");
    daemon.end(node);
}

/// A worker that goes on talking keeps neither spawner nor node busy.
pub(crate) fn a_worker_has_one_word() {
    let mut daemon = Daemon::start();
    let mut node = daemon.node();
    let chatters = replica_of(worker::CHATTERS, 1);
    node.start(&chatters);
    assert_eq!(node.call(&chatters.replica, "hostname"), "dormouse", "it has said all it has to say");
    node.stop(&chatters.replica, 0);
    assert_eq!(node.exit_cause(&chatters.replica), ExitCause::Stopped, "nothing was told in between");
    daemon.end(node);
}

pub(crate) fn nothing_is_left_of_a_replica() {
    let mut daemon = Daemon::start();
    let mut node = daemon.node();
    let spec = replica();
    let log = node.start(&spec).log;
    assert_eq!(node.call(&spec.replica, "say something"), "said");
    let pid = machine::process(&daemon.group(), &spec.replica);
    let waiting = UnixStream::connect(node.socket(&spec.replica)).unwrap();
    node.freeze(&spec.replica);
    node.stop(&spec.replica, 0);
    assert_eq!(node.exit_cause(&spec.replica), ExitCause::Stopped);
    assert_eq!(read_log(log), "something\n");
    assert!(!machine::is_running(pid));
    assert!(!node.socket(&spec.replica).exists());
    for group in machine::groups(&daemon.group()) {
        assert!(!group.join(spec.replica.as_str()).exists(), "{}", group.display());
    }
    assert_eq!(answer(&waiting), "", "its connections are dead");
    for request in [
        Request::Freeze { replica: spec.replica.clone() },
        Request::Thaw { replica: spec.replica.clone() },
        Request::Stop { replica: spec.replica.clone(), grace_ms: 0 },
    ] {
        node.ask(&request);
        assert!(matches!(node.of(&spec.replica), Event::Refused { .. }));
    }
    // The id is free again, and so is the name of its socket.
    node.start(&spec);
    daemon.end(node);
}

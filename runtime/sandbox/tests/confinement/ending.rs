//! How a daemon ends, and what its next life finds.

use std::{fs, process::ExitCode};

use dormouse_sandbox::messages::{Event, ReplicaState, Request};
use rustix::process::Signal;

use crate::worker;
use dormouse_driver::{
    daemon::{Daemon, Settings, is_forked},
    machine::{self, is_running, is_v1, until},
    script::{replica_of, store_model},
};

pub(crate) fn on_sigterm_everything_goes() {
    let home = tempfile::tempdir().unwrap();
    for ephemeral in [true, false] {
        let mut settings = Settings::under(home.path());
        settings.ephemeral = ephemeral;
        store_model_once(&settings);
        let mut daemon = Daemon::launch(settings);
        let mut node = daemon.node();
        let (stubborn, frozen) = (replica_of(worker::IGNORES_SIGTERM, 1), replica_of("frozen", 1));
        node.start(&stubborn);
        node.start(&frozen);
        node.freeze(&frozen.replica);
        let pids = [&stubborn, &frozen].map(|spec| machine::process(&daemon.group(), &spec.replica));
        assert!(daemon.settings.run.join("admin.sock").exists());
        daemon.signal(Signal::TERM);
        node.drain();
        assert_eq!(daemon.wait(), 0);
        daemon.assert_nothing_left();
        assert!(pids.iter().all(|pid| !is_running(*pid)));
        assert!(!daemon.settings.run.join("admin.sock").exists());
        assert!(daemon.settings.data.join("models").exists(), "data stays");
    }
}

fn store_model_once(settings: &Settings) {
    if !settings.data.exists() {
        store_model(&settings.data);
    }
}

pub(crate) fn a_second_signal_does_not_wait() {
    let mut daemon = Daemon::start();
    let mut node = daemon.node();
    node.start(&replica_of("plain", 1));
    daemon.signal(Signal::TERM);
    assert_eq!(node.of_none(), Event::Drain);
    // The node goes on as if it still had something to finish.
    daemon.signal(Signal::INT);
    assert_eq!(daemon.wait(), 0);
    daemon.assert_nothing_left();
}

pub(crate) fn the_drain_deadline_is_kept() {
    let mut daemon = Daemon::start_with(|settings| settings.drain_ms = 100);
    let mut node = daemon.node();
    node.start(&replica_of("plain", 1));
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait(), 0, "though the node never drained");
    daemon.assert_nothing_left();
}

/// Two daemons side by side; one is killed with a frozen replica, and only its own is swept.
pub(crate) fn what_a_killed_daemon_left_is_swept() {
    let mut beside = Daemon::start();
    let mut beside_node = beside.node();
    let spec = replica_of("plain", 1);
    beside_node.start(&spec);
    let kept = machine::process(&beside.group(), &spec.replica);

    let home = tempfile::tempdir().unwrap();
    let settings = Settings::under(home.path());
    store_model(&settings.data);
    let mut daemon = Daemon::launch(settings.clone());
    let mut node = daemon.node();
    let (frozen, running) = (replica_of("frozen", 1), replica_of("running", 1));
    node.start(&frozen);
    node.start(&running);
    node.freeze(&frozen.replica);
    let left = [&frozen, &running].map(|spec| machine::process(&daemon.group(), &spec.replica));
    daemon.kill();
    until("the node ends with its channel", || !is_running(node.pid()));
    // A template ends with its channel and takes its servers along, but for those that v1 has frozen.
    let outlive = match (is_forked(), is_v1()) {
        (false, _) => 2,
        (true, true) => 1,
        (true, false) => 0,
    };
    assert!(left[..outlive].iter().all(|pid| is_running(*pid)), "replicas outlive the spawner");

    let mut next = Daemon::launch(settings);
    let next_node = next.node();
    assert_eq!(next.group(), daemon.group());
    assert!(next_node.adopted.is_empty());
    assert!(left.iter().all(|pid| !is_running(*pid)), "swept before anybody is served");
    for group in machine::groups(&next.group()) {
        assert!([&frozen, &running].iter().all(|spec| !group.join(spec.replica.as_str()).exists()));
    }
    assert!(!next_node.socket(&frozen.replica).exists());

    assert_eq!(machine::process(&beside.group(), &spec.replica), kept);
    assert_eq!(beside_node.call(&spec.replica, "hostname"), "dormouse");
    // Not `end`: the daemon beside still has processes.
    next.signal(Signal::TERM);
    let mut next_node = next_node;
    next_node.drain();
    assert_eq!(next.wait(), 0);
    assert!(machine::groups(&next.group()).is_empty());
    beside.end(beside_node);
}

/// The child that deploys what `serve` was given: it does as its first argument says.
pub(crate) fn companion(arguments: &[String]) -> ExitCode {
    fs::write(&arguments[2], std::process::id().to_string()).unwrap();
    match arguments[1].as_str() {
        "fails" => ExitCode::FAILURE,
        _ => loop {
            std::thread::park();
        },
    }
}

fn with_companion(behaviour: &str) -> Daemon {
    Daemon::start_with(|settings| {
        let tells = settings.data.join("companion").to_string_lossy().into_owned();
        settings.companion = Some(vec!["deploy".to_owned(), behaviour.to_owned(), tells]);
    })
}

pub(crate) fn a_deploy_that_fails_ends_the_daemon() {
    let mut daemon = with_companion("fails");
    let mut node = daemon.node();
    node.drain();
    assert_eq!(daemon.wait(), 1);
    assert_eq!(daemon.stderr(), "the deploy of what was to be served failed\n");
    daemon.assert_nothing_left();
}

pub(crate) fn a_deploy_ends_with_the_daemon() {
    let mut daemon = with_companion("waits");
    let node = daemon.node();
    let tells = daemon.settings.data.join("companion");
    let pid = || fs::read_to_string(&tells).ok()?.parse().ok();
    until("the deploy begins", || pid().is_some());
    let pid: i32 = pid().unwrap();
    assert_eq!(machine::status_of(pid, "SigBlk:"), "0000000000000000", "it can be told to end");
    node.ask(&Request::Forget { endpoint: "plain".parse().unwrap() });
    assert!(node.adopted.iter().all(|(report, _)| report.state == ReplicaState::Ready));
    daemon.end(node);
    assert!(!is_running(pid));
}

//! Either half dies: the node under load, the spawner, and the whole daemon in between.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use dormouse_tests::{
    Connection, Daemon, Endpoint, Request, Round,
    processes::{self, start_time},
    script::{Infer, Load, Script},
    wait::{until, until_true},
};
use rustix::process::Signal;

use crate::{fake, server::Server};

const CALLERS: usize = 6;
const ANSWERS_BEFORE: usize = 60;
const ANSWERS_AFTER: usize = 60;

/// Id and start of each process of an endpoint, by the kernel.
fn identities(endpoint: &Endpoint<'_>) -> BTreeSet<(i32, u64)> {
    endpoint.processes().into_iter().map(|pid| (pid, start_time(pid))).collect()
}

pub(crate) fn a_killed_node_costs_only_what_was_in_flight(round: Round) {
    let server = Server { round };
    let daemon = server.home().endpoint("max_replicas", "2").endpoint("freeze_after", "\"1m\"").start();
    let endpoint = server.deploy(&daemon, "vad");
    let load = Callers::default();
    thread::scope(|scope| {
        // Also where this test fails: the scope waits for them.
        let _enough = Enough(&load);
        for _ in 0..CALLERS {
            scope.spawn(|| load.run(server, &endpoint));
        }
        until_true("the endpoint is busy", || load.answered.load(Ordering::SeqCst) > ANSWERS_BEFORE);
        until_true("no more replicas are started", || endpoint.phases() == ["ready", "ready"]);
        let (replicas, before) = (ids(&endpoint), identities(&endpoint));

        let node = daemon.node_pid();
        processes::kill(node, Signal::KILL);
        let successor =
            until("another node process", || processes::child(daemon.pid(), "node").filter(|it| *it != node));
        until("the node knows its replicas", || node_status(&daemon).filter(|found| *found == replicas));

        let answered = load.answered.load(Ordering::SeqCst);
        let failed = load.failed.load(Ordering::SeqCst);
        until_true("it goes on", || load.answered.load(Ordering::SeqCst) > answered + ANSWERS_AFTER);
        assert_eq!(load.failed.load(Ordering::SeqCst), failed, "none fails after the restart");
        assert!(failed <= CALLERS, "one request a caller was in flight, {failed} failed");
        assert_eq!(load.refused.load(Ordering::SeqCst), 0, "the listener was there all the time");
        assert_eq!((ids(&endpoint), identities(&endpoint)), (replicas, before));
        assert_eq!(processes::child(daemon.pid(), "node"), Some(successor));
    });
}

fn ids(endpoint: &Endpoint<'_>) -> BTreeSet<(String, u64)> {
    endpoint.replicas().into_iter().map(|replica| (replica.id, replica.started_at_ms)).collect()
}

/// The replicas of the endpoint, where a node process answers.
fn node_status(daemon: &Daemon) -> Option<BTreeSet<(String, u64)>> {
    let path = daemon.home().run().join("admin.sock");
    let answer = Connection::to_socket(&path).ok()?.try_send(&Request::get("/v1/endpoints/vad")).ok()?;
    (answer.status == 200).then(|| ids(&Endpoint::of(daemon, "vad")))
}

#[derive(Default)]
struct Callers {
    enough: AtomicBool,
    answered: AtomicUsize,
    /// Broken off after they were sent.
    failed: AtomicUsize,
    /// Not even taken.
    refused: AtomicUsize,
}

/// Ends the callers when it is dropped.
struct Enough<'a>(&'a Callers);

impl Drop for Enough<'_> {
    fn drop(&mut self) {
        self.0.enough.store(true, Ordering::SeqCst);
    }
}

impl Callers {
    /// Calls again and again, each time on a new connection.
    fn run(&self, server: Server, endpoint: &Endpoint<'_>) {
        let request = server.request(endpoint);
        while !self.enough.load(Ordering::SeqCst) {
            let Ok(mut connection) = Connection::try_to(endpoint.daemon.address()) else {
                self.refused.fetch_add(1, Ordering::SeqCst);
                continue;
            };
            match connection.try_send(&request) {
                Ok(answer) => {
                    server.check(&answer.ok().json());
                    self.answered.fetch_add(1, Ordering::SeqCst);
                }
                Err(_) => {
                    self.failed.fetch_add(1, Ordering::SeqCst);
                }
            }
        }
    }
}

pub(crate) fn a_node_finds_frozen_replicas_and_wakes_them(round: Round) {
    let daemon = fake().in_round(round).endpoint("freeze_after", "\"1ms\"").endpoint("zero_after", "\"1h\"").start();
    let endpoint = daemon.deploy_fake("a", Script::echo(), &[]);
    endpoint.check_echo(1);
    endpoint.until_phases(&["frozen"]);
    let before = identities(&endpoint);
    processes::kill(daemon.node_pid(), Signal::KILL);
    endpoint.check_echo(2);
    assert_eq!(identities(&endpoint), before);
}

pub(crate) fn requests_in_the_kernels_queue_outlive_the_node(round: Round) {
    let daemon = fake().in_round(round).start();
    let endpoint = daemon.deploy_fake("a", Script::echo(), &[]);
    let node = daemon.node_pid();
    // It takes no connection any more; those that come are the kernel's.
    processes::kill(node, Signal::STOP);
    let mut connection = Connection::to(daemon.address());
    connection.write(&endpoint.echo_request(7).bytes()).unwrap();
    processes::kill(node, Signal::KILL);
    let answer = connection.receive().expect("the next node answers").ok().json();
    assert_eq!(answer["outputs"][0]["data"][0], 7);
}

pub(crate) fn a_dead_spawner_takes_its_node_along_and_the_next_start_sweeps(round: Round) {
    let beside = fake().in_round(round).start();
    let neighbour = beside.deploy_fake("a", Script::echo(), &[]);
    neighbour.check_echo(1);
    let untouched = identities(&neighbour);

    let daemon = fake().in_round(round).start();
    let endpoint = daemon.deploy_fake("a", Script::echo(), &[]);
    endpoint.check_echo(1);
    let instance = daemon.instance().to_owned();
    let node = daemon.node_pid();
    let replica = endpoint.processes();
    let home = daemon.kill();
    until_true("the node ends at the end of its channel", || !processes::lives(node));
    assert!(!processes::control_groups(&instance).is_empty(), "nobody was there to remove them");

    let daemon = home.start_again();
    assert_eq!(daemon.instance(), instance);
    assert!(replica.iter().all(|pid| !processes::lives(*pid)), "swept");
    let endpoint = Endpoint::of(&daemon, "a");
    assert!(endpoint.replicas().is_empty());
    endpoint.check_echo(2);

    assert_eq!(identities(&neighbour), untouched);
    neighbour.check_echo(3);
}

pub(crate) fn what_was_deployed_outlives_the_daemon(round: Round) {
    let daemon = fake().in_round(round).start();
    daemon.deploy_fake("a", Script::echo(), &[("queue-waiters-max", "7")]).check_echo(1);
    daemon.deploy_fake("b", Script::echo(), &[]).delete();
    let before = daemon.status("a");
    let daemon = daemon.restart();
    let endpoint = Endpoint::of(&daemon, "a");
    assert_eq!(daemon.admin("/v1/endpoints").json().as_array().unwrap().len(), 1, "b stays deleted");
    let after = daemon.status("a");
    for key in ["endpoint", "revision", "model", "model_bytes"] {
        assert_eq!(before[key], after[key]);
    }
    if round != Round::Image {
        assert_eq!(daemon.get(&endpoint.path("")).ok().json()["versions"], serde_json::json!(["1"]));
    }
    assert!(endpoint.processes_and_makers().is_empty(), "known without waking it");
    endpoint.check_echo(2);
}

pub(crate) fn sigterm_lets_running_requests_finish(round: Round) {
    let daemon = fake().in_round(round).start();
    let endpoint = daemon.deploy_fake("a", Script::echo().infer(Infer::Hold), &[]);
    thread::scope(|scope| {
        let running = scope.spawn(|| endpoint.infer(&dormouse_tests::endpoint::echo_body(5)));
        endpoint.until_leases(1);
        processes::kill(daemon.pid(), Signal::TERM);
        until_true("the daemon drains", || daemon.admin("/v1/node").json()["draining"] == true);
        // Who comes now is told so, not kept waiting.
        let refused = endpoint.infer(&dormouse_tests::endpoint::echo_body(6));
        assert_eq!(refused.status, 503, "{refused:?}");
        assert!(refused.header("retry-after").is_some());
        assert_eq!(daemon.get("/v2/health/ready").status, 503);
        endpoint.play(Script::echo());
        assert_eq!(running.join().unwrap().ok().json()["outputs"][0]["data"][0], 5);
    });
    daemon.until_ended();
}

pub(crate) fn a_second_signal_does_not_wait_for_requests(round: Round) {
    let daemon = fake().in_round(round).start();
    let endpoint = daemon.deploy_fake("a", Script::echo().infer(Infer::Hold), &[]);
    thread::scope(|scope| {
        let request = endpoint.echo_request(5);
        let mut connection = Connection::to(daemon.address());
        let running = scope.spawn(move || connection.try_send(&request));
        endpoint.until_leases(1);
        processes::kill(daemon.pid(), Signal::TERM);
        until_true("the daemon drains", || daemon.admin("/v1/node").json()["draining"] == true);
        processes::kill(daemon.pid(), Signal::TERM);
        // Told why, or cut off: the node is given no time to tell.
        assert!(running.join().unwrap().map_or(true, |answer| answer.status == 502));
    });
    daemon.until_ended();
}

pub(crate) fn a_deploy_that_loses_its_node_leaves_nothing(round: Round) {
    let daemon = fake().in_round(round).start();
    let holding = Script::echo().load(Load::Hold);
    thread::scope(|scope| {
        let deploy = scope.spawn(|| daemon.try_deploy_fake("a", &holding, 0, &[]));
        let endpoint = Endpoint::of(&daemon, "a");
        until_true("a replica loads the model", || endpoint.is_tried());
        processes::kill(daemon.node_pid(), Signal::KILL);
        let reason = deploy.join().unwrap().failed(1);
        assert!(reason.contains("the daemon"), "{reason}");
        until_true("its replica is ended", || !endpoint.is_tried());
    });
    let uids = daemon.home().data().join("uids.json");
    until_true("its uid is given back", || !std::fs::read_to_string(&uids).is_ok_and(|uids| uids.contains("\"a\"")));
    assert_eq!(daemon.admin("/v1/endpoints").ok().json(), serde_json::json!([]));
    daemon.deploy_fake("a", Script::echo(), &[]).check_echo(1);
}

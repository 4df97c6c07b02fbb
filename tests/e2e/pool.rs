//! Wakes that take a container which waited for a model, and what becomes of them when there is none, or
//! when it dies on the way.

use std::thread;

use dormouse_tests::{Daemon, Endpoint, Home, Round, Script, endpoint, paths, processes, wait::until_true};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::{fake, real, silero};

const BLANKS: usize = 2;

fn with_blanks(home: Home) -> Daemon {
    let daemon = home
        .in_round(Round::Created)
        .set("pool", "size", &BLANKS.to_string())
        .endpoint("freeze_after", "\"10ms\"")
        .endpoint("zero_after", "\"20ms\"")
        .start();
    until_full(&daemon);
    daemon
}

fn until_full(daemon: &Daemon) {
    until_true("the pool is full", || daemon.metrics().sum("dormouse_blanks_ready", &[]) == BLANKS as f64);
}

/// Where the last wakes came from, the newest first.
fn rungs(endpoint: &Endpoint<'_>) -> Vec<String> {
    let wakes = endpoint.daemon.cli(&["why", &endpoint.name, "--json"]).json();
    wakes.as_array().unwrap().iter().map(|wake| wake["rung"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_model_wakes_in_a_container_that_waited() {
    let daemon = with_blanks(real());
    let endpoint = daemon.deploy("vad", &silero::model());
    for wakes in 1..=3 {
        endpoint.until_phases(&[]);
        until_full(&daemon);
        silero::call(&endpoint);
        until_true("the wake is written down", || rungs(&endpoint) == vec!["claimed"; wakes]);
    }
    let why = daemon.cli(&["why", "vad"]).ok().stdout;
    assert!(why.contains("claimed for a request") && why.contains("in the spawner, blank-"), "{why}");
    assert!(daemon.metrics().sum("dormouse_claim_seconds_count", &[]) >= 3.0);
    daemon.stop();
}

#[test]
fn status_tells_the_control_group_of_what_waited_also_to_the_next_node() {
    let daemon = fake().in_round(Round::Created).set("pool", "size", "1").start();
    until_true("a container waits", || daemon.metrics().sum("dormouse_blanks_ready", &[]) == 1.0);
    let endpoint = daemon.deploy_fake("m", Script::echo(), &[]);
    until_true("a container waits", || daemon.metrics().sum("dormouse_blanks_ready", &[]) == 1.0);
    let [blank] = processes::of_blanks(daemon.instance()).into_iter().collect::<Vec<_>>()[..] else { panic!("one") };
    endpoint.check_echo(1);
    assert_eq!(endpoint.processes(), [blank]);
    let group = endpoint.replicas().remove(0).control_group;
    assert!(group.starts_with("blank-"), "{group}");
    assert!(daemon.cli(&["status", "m"]).ok().stdout.contains(&group));

    let node = daemon.node_pid();
    processes::kill(node, Signal::KILL);
    until_true("another node", || processes::child(daemon.pid(), "node").is_some_and(|pid| pid != node));
    assert_eq!(endpoint.processes(), [blank]);
    assert_eq!(endpoint.replicas().remove(0).control_group, group);
}

#[test]
fn external_data_is_handed_over_with_what_was_prepared_of_it_or_mounted() {
    for (prepares, rung) in [("true", "claimed"), ("false", "created")] {
        let daemon = with_blanks(real().set("node", "prepare_models", prepares));
        let endpoint = daemon.deploy("external", &paths::fixture("external"));
        endpoint.until_phases(&[]);
        until_full(&daemon);
        let x = json!({ "name": "x", "datatype": "FP32", "shape": [4], "data": [0.0, 0.0, 0.0, 0.0] });
        let _ = endpoint.infer(&json!({ "inputs": [x] })).ok();
        until_true("the wake is written down", || rungs(&endpoint) == [rung]);
    }
}

#[test]
fn a_burst_that_empties_the_pool_is_answered() {
    const ENDPOINTS: usize = 6;
    let daemon = with_blanks(fake());
    let endpoints: Vec<_> = (0..ENDPOINTS)
        .map(|number| {
            let name = format!("m{number}");
            daemon.deploy_fake(&name, Script::echo().salt(&name), &[])
        })
        .collect();
    endpoints.iter().for_each(|endpoint| endpoint.until_phases(&[]));
    until_full(&daemon);
    thread::scope(|scope| {
        for endpoint in &endpoints {
            scope.spawn(|| endpoint.check_echo(7));
        }
    });
    let all: Vec<String> = endpoints
        .iter()
        .flat_map(|endpoint| {
            until_true("the wake is written down", || rungs(endpoint).len() == 1);
            rungs(endpoint)
        })
        .collect();
    assert!(all.iter().filter(|rung| *rung == "claimed").count() >= BLANKS, "{all:?}");
    assert!(all.iter().any(|rung| rung == "created"), "{all:?}");
    until_full(&daemon);
}

#[test]
fn a_container_that_dies_as_it_is_claimed_costs_no_request() {
    let daemon = with_blanks(fake());
    let endpoint = daemon.deploy_fake("m", Script::echo(), &[]);
    endpoint.until_phases(&[]);
    until_full(&daemon);
    // It is claimed, and does not read what it is told.
    let blanks = processes::of_blanks(daemon.instance());
    assert_eq!(blanks.len(), BLANKS);
    let signal = |pid: i32, signal| kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    blanks.iter().for_each(|pid| signal(*pid, Signal::STOP));
    let answered = thread::scope(|scope| {
        let asked = scope.spawn(|| endpoint.infer(&endpoint::echo_body(5)));
        until_true("one is claimed", || endpoint.phases() == ["starting"]);
        blanks.iter().for_each(|pid| signal(*pid, Signal::KILL));
        asked.join().unwrap()
    });
    assert_eq!(answered.ok().json()["outputs"][0]["data"], json!([5]));
    let told = endpoint.status()["last_failure"].to_string();
    assert!(told.contains("a container of the pool was lost"), "{told}");
    endpoint.until_phases(&[]);
    endpoint.check_echo(6);
}

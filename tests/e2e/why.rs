//! Where the time of a wake went is told, phase by phase.

use dormouse_tests::{Endpoint, Round, Script, paths, script::Load};
use serde_json::{Value, json};

use crate::{fake, real};

/// Wakes that are remembered of one endpoint.
const REMEMBERED: usize = 16;

fn wakes(endpoint: &Endpoint<'_>) -> Vec<Value> {
    endpoint.daemon.cli(&["why", &endpoint.name, "-n", "100", "--json"]).json().as_array().expect("a list").clone()
}

fn phases(wake: &Value) -> Vec<&str> {
    wake["phases"].as_array().unwrap().iter().map(|phase| phase["phase"].as_str().unwrap()).collect()
}

fn micros(wake: &Value, phase: &str) -> u64 {
    let of = |it: &&Value| it["phase"] == phase;
    wake["phases"].as_array().unwrap().iter().find(of).and_then(|it| it["us"].as_u64()).expect("a phase")
}

#[test]
fn a_wake_from_nothing_and_one_from_the_freezer() {
    let daemon = real().in_round(Round::Created).endpoint("freeze_after", "\"1ms\"").start();
    let endpoint = daemon.deploy("id", &paths::fixture("identity_matrix.onnx"));
    let told = daemon.cli(&["why", "id"]).ok().stdout;
    assert!(told.contains("was not woken"), "a deploy's probe is no wake: {told}");
    let x = json!({ "name": "IN_FP32", "datatype": "FP32", "shape": [1, 2], "data": [1.0, 2.0] });
    let call = || endpoint.infer(&json!({ "inputs": [x] })).ok();
    let _ = call();
    endpoint.until_phases(&["frozen"]);
    let _ = call();
    endpoint.until_phases(&["frozen"]);

    let [thawed, created] = <[Value; 2]>::try_from(wakes(&endpoint)).unwrap();
    assert_eq!(phases(&created), ["queue", "create", "start", "runtime", "model", "session", "first-inference"]);
    assert_eq!(phases(&thawed), ["thaw", "first-inference"]);
    for (wake, rung) in [(&created, "created"), (&thawed, "frozen")] {
        assert_eq!(
            (&wake["rung"], &wake["asked"], &wake["outcome"]),
            (&json!(rung), &json!("request"), &json!("answered"))
        );
        let sum: u64 = phases(wake).iter().map(|phase| micros(wake, phase)).sum();
        let total = wake["total_us"].as_u64().unwrap();
        // Each is cut to whole microseconds.
        assert!(total.abs_diff(sum) <= 10, "nothing is missing: {wake}");
    }
    for phase in ["create", "first-inference"] {
        assert!(micros(&created, phase) > 0, "{created}");
    }
    // What the worker says of its loading is cut to what was seen of it, of which a busy machine may see little.
    let loading: u64 = ["runtime", "model", "session"].iter().map(|phase| micros(&created, phase)).sum();
    assert!(loading > 0, "{created}");
    let parts = ["fork_us", "cgroup_us", "container_us", "release_us"];
    let parts: u64 = parts.iter().map(|part| created["origin"]["created"][part].as_u64().unwrap()).sum();
    assert!(0 < parts && parts <= micros(&created, "create"), "{created}");

    let metrics = daemon.metrics();
    for (rung, phase) in [("created", "session"), ("created", "total"), ("frozen", "thaw"), ("frozen", "total")] {
        let labels = [&*format!("rung=\"{rung}\""), &format!("phase=\"{phase}\"")];
        assert_eq!(metrics.sum("dormouse_wake_phase_seconds_count", &labels), 1.0, "{rung} {phase}");
    }
    assert!(!metrics.text().lines().any(|line| line.starts_with("dormouse_wake") && line.contains("endpoint=")));

    let told = daemon.cli(&["why", "id", "-n", "1"]).ok().stdout;
    assert!(told.contains("thawed for a request") && !told.contains("created"), "{told}");
    let told = daemon.cli(&["status", "id"]).ok().stdout;
    assert!(told.lines().any(|line| line.starts_with("Last wake") && line.contains("thawed for a request")), "{told}");
}

#[test]
fn a_start_that_fails_is_a_wake_with_a_cause() {
    let daemon = fake().in_round(Round::Created).start();
    let endpoint = daemon.deploy_fake("m", Script::echo(), &[]);
    endpoint.play(Script::echo().load(Load::Fail));
    let _ = endpoint.infer(&json!({})).error(503);
    let wake = wakes(&endpoint).remove(0);
    assert_eq!((&wake["outcome"], phases(&wake)), (&json!("failed"), vec!["queue", "create"]));
    assert!(wake["cause"].as_str().unwrap().contains("the script says no"), "{wake}");
    let told = daemon.cli(&["why", "m"]).ok().stdout;
    assert!(told.contains("failed: the script says no"), "{told}");
}

#[test]
fn replicas_that_must_run_are_asked_for_by_no_request() {
    let daemon = fake().start();
    let endpoint = daemon.deploy_fake("m", Script::echo(), &[("min-replicas", "1")]);
    endpoint.until_phases(&["ready"]);
    let wake = wakes(&endpoint).remove(0);
    assert_eq!((&wake["asked"], &wake["outcome"]), (&json!("min-replicas"), &json!("ready")));
}

#[test]
fn the_last_wakes_are_remembered_and_no_more() {
    let daemon = fake().endpoint("freeze_after", "\"1ms\"").start();
    let endpoint = daemon.deploy_fake("m", Script::echo(), &[]);
    for data in 0..20 {
        endpoint.check_echo(data);
        endpoint.until_phases(&["frozen"]);
    }
    let wakes = wakes(&endpoint);
    assert_eq!(wakes.len(), REMEMBERED);
    assert!(wakes.iter().all(|wake| wake["rung"] == "frozen"), "the newest");
    assert!(wakes.is_sorted_by_key(|wake| wake["ago_ms"].as_u64()), "the newest first");
}

#[test]
fn who_asks_after_an_endpoint_that_is_not_there_is_told() {
    let daemon = fake().start();
    let reason = daemon.cli(&["why", "nobody"]).failed(1);
    assert!(reason.contains("nobody"), "{reason}");
}

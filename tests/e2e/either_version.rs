//! What must hold on either version of control groups, with a model of a few bytes and ONNX Runtime:
//! these tests run on the machine, and again in the guest that has nothing but v2.

use std::path::PathBuf;

use dormouse_tests::{Endpoint, Home, paths, processes::lives, wait::until_true};
use serde_json::json;

use crate::real;

const FREEZES_AT_ONCE: &str = "\"1ms\"";

fn model() -> PathBuf {
    paths::fixture("identity_matrix.onnx")
}

/// Its output is its input.
fn call(endpoint: &Endpoint<'_>, value: f64) {
    let x = json!({ "name": "IN_FP32", "datatype": "FP32", "shape": [1, 2], "data": [value, -value] });
    let answer = endpoint.infer(&json!({ "inputs": [x] })).ok().json();
    assert_eq!(answer["outputs"][0]["data"], json!([value, -value]), "{answer}");
}

fn freezing() -> Home {
    real().endpoint("freeze_after", FREEZES_AT_ONCE)
}

#[test]
fn a_model_is_called_frozen_thawed_gone_and_called_again() {
    let daemon = freezing().endpoint("zero_after", "\"2s\"").start();
    let endpoint = daemon.deploy("id", &model());
    call(&endpoint, 1.5);
    let first = endpoint.replicas().remove(0).id;
    endpoint.until_phases(&["frozen"]);
    call(&endpoint, 2.5);
    assert_eq!(endpoint.replicas().remove(0).id, first, "thawed, not started anew");
    endpoint.until_phases(&[]);
    until_true("its processes are gone", || endpoint.processes().is_empty());
    call(&endpoint, 3.5);
    assert_ne!(endpoint.replicas().remove(0).id, first);
    endpoint.delete();
    assert!(endpoint.processes().is_empty());
}

#[test]
fn a_frozen_replica_is_deleted() {
    let daemon = freezing().start();
    let endpoint = daemon.deploy("id", &model());
    call(&endpoint, 1.0);
    endpoint.until_phases(&["frozen"]);
    let processes = endpoint.processes();
    assert!(!processes.is_empty());
    endpoint.delete();
    until_true("its processes ended", || processes.iter().all(|pid| !lives(*pid)));
}

#[test]
fn a_frozen_replica_of_an_old_revision_drains() {
    let daemon = freezing().start();
    let endpoint = daemon.deploy("id", &model());
    call(&endpoint, 1.0);
    endpoint.until_phases(&["frozen"]);
    let processes = endpoint.processes();
    let endpoint = daemon.deploy("id", &model());
    until_true("the old revision is gone", || processes.iter().all(|pid| !lives(*pid)));
    call(&endpoint, 2.0);
}

#[test]
fn the_daemon_ends_with_a_frozen_replica() {
    let daemon = freezing().start();
    let endpoint = daemon.deploy("id", &model());
    call(&endpoint, 1.0);
    endpoint.until_phases(&["frozen"]);
    daemon.stop();
}

#[test]
fn what_a_killed_daemon_left_frozen_is_swept() {
    let daemon = freezing().start();
    let endpoint = daemon.deploy("id", &model());
    call(&endpoint, 1.0);
    endpoint.until_phases(&["frozen"]);
    let processes = endpoint.processes();
    let daemon = daemon.kill().start_again();
    assert!(processes.iter().all(|pid| !lives(*pid)));
    call(&Endpoint::of(&daemon, "id"), 2.0);
}

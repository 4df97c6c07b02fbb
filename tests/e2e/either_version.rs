//! What must hold on either version of control groups, with a model of a few bytes and ONNX Runtime, and with an image:
//! these tests run on the machine, and again in the guest that has nothing but v2.

use std::path::PathBuf;

use dormouse_tests::{Endpoint, Home, paths, processes::lives, wait::until_true};
use serde_json::json;

use crate::{
    image_endpoints::{ASK, ask, bring, pod},
    real,
};

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
    let daemon = freezing().endpoint("zero_after", "\"10s\"").start();
    let endpoint = daemon.deploy("id", &model());
    call(&endpoint, 1.5);
    let first = endpoint.replicas().remove(0).id;
    endpoint.until_phases(&["frozen"]);
    call(&endpoint, 2.5);
    assert_eq!(endpoint.replicas().remove(0).id, first, "thawed, not started anew");
    endpoint.until_phases(&[]);
    until_true("its processes are gone", || endpoint.processes_and_makers().is_empty());
    call(&endpoint, 3.5);
    assert_ne!(endpoint.replicas().remove(0).id, first);
    endpoint.delete();
    assert!(endpoint.processes_and_makers().is_empty());
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

/// What joins its network to others is in a group of its own on v2, and in the replica's own on v1.
#[test]
fn an_image_with_a_way_out_and_a_volume_on_disk_is_called_frozen_thawed_and_gone() {
    let daemon = freezing().start();
    bring(&daemon);
    let mounted = "volumeMounts: [{name: disk, mountPath: /var/cache}]";
    let manifest = pod("app", ASK, &[("network", "egress")], mounted);
    let volumes = "  volumes: [{name: disk, emptyDir: {sizeLimit: 8Mi}}]\n";
    let file = daemon.home().write("app.yaml", manifest + volumes);
    let _ = daemon.cli(&["deploy", "-f", file.to_str().unwrap()]).ok();
    let endpoint = Endpoint::of(&daemon, "app");
    let look = "ip -4 -o addr show dev eth0 | grep -o 'inet [0-9.]*'; cat /etc/resolv.conf; \
                grep -c ' /var/cache ext4 ' /proc/mounts; touch /var/cache/kept; ls /sys/fs/cgroup/outside 2>/dev/null";
    let seen = "inet 10.0.2.100\nnameserver 10.0.2.3\n1\n";
    assert_eq!(ask(&daemon, "app", look), seen);
    let first = endpoint.replicas().remove(0).id;
    endpoint.until_phases(&["frozen"]);
    assert_eq!(ask(&daemon, "app", "ls /var/cache"), "kept\n");
    assert_eq!(endpoint.replicas().remove(0).id, first, "thawed, not started anew");
    endpoint.until_phases(&["frozen"]);
    let processes = endpoint.processes();
    assert!(processes.len() > 1, "its own and its helper: {processes:?}");
    endpoint.delete();
    until_true("its processes ended", || processes.iter().all(|pid| !lives(*pid)));
}

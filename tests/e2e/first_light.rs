//! Nothing runs until somebody calls; idle, it is frozen and then gone; it wakes again.

use dormouse_tests::{Endpoint, Round, wait::until_true};

use crate::{real, silero};

#[test]
fn an_endpoint_sleeps_until_called_and_sleeps_again() {
    let daemon = real().endpoint("freeze_after", "\"300ms\"").endpoint("zero_after", "\"5s\"").start();
    // Named after its file, as `silero_vad.onnx`.
    let model = silero::model();
    let told = daemon.cli(&["deploy", model.to_str().unwrap()]).ok();
    assert!(told.stdout.starts_with("silero-vad  http://"), "{}", told.stdout);
    let endpoint = Endpoint::of(&daemon, "silero-vad");

    let listed = daemon.cli(&["ls"]).ok().stdout;
    let row: Vec<&str> = listed.lines().nth(1).expect("a row").split_whitespace().collect();
    assert_eq!(row[..4], ["silero-vad", "1", "ready", "0"], "{listed}");
    until_true("the replica that described the model is gone", || endpoint.processes_and_makers().is_empty());

    silero::call(&endpoint);
    assert!(!endpoint.processes().is_empty());
    let first = endpoint.replicas().remove(0).id;

    endpoint.until_phases(&["frozen"]);
    assert!(!endpoint.processes().is_empty(), "frozen, and still there");
    endpoint.until_phases(&[]);
    until_true("its processes are gone", || endpoint.processes_and_makers().is_empty());

    silero::call(&endpoint);
    assert_ne!(endpoint.replicas().remove(0).id, first);
}

#[test]
fn a_frozen_replica_answers() {
    let daemon = real().in_round(Round::Created).endpoint("freeze_after", "\"100ms\"").start();
    let endpoint = daemon.deploy("vad", &silero::model());
    silero::call(&endpoint);
    let replica = endpoint.replicas().remove(0).id;
    for _ in 0..3 {
        endpoint.until_phases(&["frozen"]);
        silero::call(&endpoint);
        assert_eq!(endpoint.replicas().remove(0).id, replica, "thawed, not started anew");
    }
    let metrics = daemon.metrics();
    assert_eq!(metrics.sum("dormouse_starts_total", &["endpoint=\"vad\"", "rung=\"created\"", "result=\"ok\""]), 1.0);
    assert_eq!(metrics.sum("dormouse_starts_total", &["endpoint=\"vad\"", "rung=\"frozen\"", "result=\"ok\""]), 3.0);
}

#[test]
fn the_daemon_ends_with_a_frozen_replica() {
    let daemon = real().endpoint("freeze_after", "\"1ms\"").start();
    let endpoint = daemon.deploy("vad", &silero::model());
    silero::call(&endpoint);
    endpoint.until_phases(&["frozen"]);
    daemon.stop();
}

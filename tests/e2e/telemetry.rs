//! ONNX Runtime sends no telemetry from a replica: no thread for it, no file, no way out.

use std::{collections::BTreeSet, fs};

use dormouse_tests::processes::thread_names;

use crate::{real, silero};

#[test]
fn a_replica_has_no_thread_file_or_network_for_telemetry() {
    let daemon = real().start();
    let endpoint = daemon.deploy("vad", &silero::model());
    silero::call(&endpoint);
    let processes = endpoint.processes();
    assert_eq!(processes.len(), 1, "a worker and nothing else: {processes:?}");
    let worker = processes[0];
    let names: BTreeSet<String> = thread_names(worker).into_iter().collect();
    assert_eq!(names, BTreeSet::from(["dormouse", "inference"].map(str::to_owned)));

    let in_container = |path: &str| format!("/proc/{worker}/root{path}");
    let written: Vec<_> = fs::read_dir(in_container("/tmp")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(written.is_empty(), "its home: {written:?}");
    let devices = fs::read_to_string(format!("/proc/{worker}/net/dev")).unwrap();
    let interfaces: Vec<&str> = devices.lines().skip(2).filter_map(|line| line.split(':').next()).collect();
    assert!(interfaces.iter().all(|name| name.trim() == "lo" || name.trim().ends_with('0')), "{interfaces:?}");
    let routes = fs::read_to_string(format!("/proc/{worker}/net/route")).unwrap();
    assert_eq!(routes.lines().skip(1).count(), 0, "no route leads out: {routes}");
    let environment = fs::read(format!("/proc/{worker}/environ")).unwrap();
    assert!(environment.split(|byte| *byte == 0).any(|variable| variable == b"ORT_DISABLE_TELEMETRY=1"));
}

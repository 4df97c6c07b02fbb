//! Threads, files, cancellation and the end of a worker.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use rustix::process::{Pid, Signal, kill_process};

use crate::http::{Request, Response};
use crate::process::{Worker, eventually, wait};

fn thread_names(worker: &Worker) -> Vec<String> {
    std::fs::read_dir(format!("/proc/{}/task", worker.child.id()))
        .unwrap()
        .filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok())
        .map(|name| name.trim().to_owned())
        .collect()
}

fn slow(iterations: u64) -> Request {
    Request::infer(
        format!(r#"{{"inputs":[{{"name":"iterations","shape":[],"datatype":"INT64","data":[{iterations}]}}]}}"#)
            .as_bytes(),
    )
}

/// So many iterations that only ending the run ends it.
const FOREVER: u64 = 1 << 40;

fn cpu_ticks(worker: &Worker) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", worker.child.id())).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn there_is_no_telemetry() {
    let worker = Worker::start("scalar.onnx");
    let mut names = thread_names(&worker);
    names.sort();
    assert_eq!(names, ["dormouse-worker", "inference"].map(|name| name.chars().take(15).collect::<String>()));
    let home: Vec<_> =
        std::fs::read_dir(worker.directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(home, ["socket"], "nothing is written below HOME");
}

#[test]
fn intra_op_threads_are_as_many_as_asked_for() {
    let worker = Worker::start_with("scalar.onnx", &["--intra-op-threads", "3"]);
    assert_eq!(thread_names(&worker).len(), 4, "two of them are the pool's: {:?}", thread_names(&worker));
}

#[test]
fn metadata_is_answered_while_the_model_runs() {
    let worker = Worker::start("slow.onnx");
    let running = slow(FOREVER).start(&worker.socket());
    let before = cpu_ticks(&worker);
    eventually("the model runs", || (cpu_ticks(&worker) > before + 5).then_some(()));
    worker.send(Request::get("/v2/models/m/ready")).ok();
    drop(running);
}

#[test]
fn a_caller_who_leaves_does_not_keep_the_others_waiting() {
    let worker = Worker::start("slow.onnx");
    let first = slow(FOREVER).start(&worker.socket());
    let second = slow(FOREVER).start(&worker.socket());
    let before = cpu_ticks(&worker);
    eventually("the model runs", || (cpu_ticks(&worker) > before + 5).then_some(()));
    drop((first, second));
    let answer = worker.send(slow(10)).ok().json();
    assert_eq!(answer["outputs"][0]["data"], serde_json::json!([10]));
}

#[test]
fn requests_beyond_the_concurrency_wait_their_turn() {
    let worker = Worker::start_with("slow.onnx", &["--concurrency", "1"]);
    let waiting: Vec<UnixStream> = (0..20).map(|n| slow(n).start(&worker.socket())).collect();
    for (n, mut stream) in waiting.into_iter().enumerate() {
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).unwrap();
        assert_eq!(Response::parse(&reply).ok().json()["outputs"][0]["data"], serde_json::json!([n]));
    }
}

#[test]
fn sigterm_finishes_what_is_in_flight() {
    let mut worker = Worker::start("slow.onnx");
    let mut running = slow(20_000).start(&worker.socket());
    let before = cpu_ticks(&worker);
    eventually("the model runs", || (cpu_ticks(&worker) > before + 5).then_some(()));
    kill_process(Pid::from_child(&worker.child), Signal::TERM).unwrap();
    let mut reply = Vec::new();
    running.read_to_end(&mut reply).unwrap();
    assert_eq!(Response::parse(&reply).ok().json()["outputs"][0]["data"], serde_json::json!([20_000]));
    assert_eq!(wait(&mut worker.child).code(), Some(0));
    assert!(UnixStream::connect(worker.socket()).is_err());
}

#[test]
fn sigterm_does_not_wait_for_idle_connections() {
    let mut worker = Worker::start("scalar.onnx");
    let unused = UnixStream::connect(worker.socket()).unwrap();
    let mut kept = UnixStream::connect(worker.socket()).unwrap();
    kept.write_all(b"GET /v2/models/m/ready HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut reply = [0; 4096];
    assert!(kept.read(&mut reply).unwrap() > 0);
    kill_process(Pid::from_child(&worker.child), Signal::TERM).unwrap();
    assert_eq!(wait(&mut worker.child).code(), Some(0));
    drop((unused, kept));
}

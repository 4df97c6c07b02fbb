//! The lists of what a server, and a template beside a worker, may ask of the kernel are what recorded runs need.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::iter;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::{Compression, write::GzEncoder};
use rustix::process::Signal;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::control::Contained;
use crate::http::Request;
use crate::process::{command, fixture};
use crate::template::{MISMATCHED, Server, Template};

const SERVER: &str = include_str!("../../../../configs/seccomp/server.json");
const TEMPLATE: &str = include_str!("../../../../configs/seccomp/template.json");
const WORKER: &str = include_str!("../../../../configs/seccomp/worker.json");

/// What the tracer appends to each file's name is a thread's id.
const FILE_PREFIX: &str = "thread";
const FILTER_LOADED: &str = "seccomp(SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC,";
/// A server loads two programs.
const FILTERS: usize = 2;
const MISSING: &str = "= -1 ENOSYS";
/// What servers ask for in vain, each with how the caller does without.
const DONE_WITHOUT: [(&str, &str); 2] = [
    ("fcntl", "with assertions, the standard library asks whether a descriptor that it closes was open"),
    ("openat", "before the first line of a log, the C library looks for the local time zone, and does with UTC"),
];
/// What is asked for outside of a container alone, whose filter answers that there is no such call.
const WITHOUT_CONTAINER: &str = "clone3";
/// Shuts a template's memory.
const SHUT: &str = "prctl(PR_SET_DUMPABLE, SUID_DUMP_DISABLE) = 0";
/// The word that a template is ready, after which come the orders.
const READY: &str = ", \"R{";

#[derive(Debug, Deserialize)]
struct List {
    allowed: Vec<Allowed>,
}

#[derive(Debug, Deserialize)]
struct Allowed {
    name: String,
    seen: Option<String>,
}

impl List {
    fn read(text: &str) -> Self {
        serde_json::from_str(text).unwrap()
    }

    fn names(&self) -> BTreeSet<&str> {
        self.allowed.iter().map(|call| call.name.as_str()).collect()
    }

    /// Those that recorded runs are relied upon to make.
    fn seen(&self) -> BTreeSet<&str> {
        self.allowed.iter().filter(|call| call.seen.is_some()).map(|call| call.name.as_str()).collect()
    }
}

/// One thread's file: lines of a time and what happened.
struct Thread(Vec<(f64, String)>);

/// Names of calls, each with one example.
type Calls = BTreeMap<String, String>;

impl Thread {
    fn read(path: &Path) -> Self {
        let text = String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
        let line = |line: &str| {
            let (time, what) = line.split_once(' ')?;
            Some((time.parse().ok()?, what.to_owned()))
        };
        Self(text.lines().filter_map(line).collect())
    }

    /// From when on all programs were loaded, where it is a server's first thread.
    fn filtered_from(&self) -> Option<f64> {
        let loaded = |(_, what): &&(f64, String)| what.starts_with(FILTER_LOADED) && what.ends_with("= 0");
        self.0.iter().filter(loaded).nth(FILTERS - 1).map(|(time, _)| *time)
    }

    fn children(&self) -> impl Iterator<Item = i32> {
        let clones = self.0.iter().filter(|(_, what)| what.starts_with("clone"));
        clones.filter_map(|(_, what)| what.rsplit("= ").next()?.parse().ok())
    }

    fn calls(&self, is_it: impl Fn(f64) -> bool, is_missing: bool) -> Calls {
        let name = |what: &str| Some(what.split_once('(')?.0).filter(|name| is_name(name)).map(str::to_owned);
        let lines = self.0.iter().filter(|(time, what)| is_it(*time) && is_refused(what) == is_missing);
        lines.filter_map(|(_, what)| Some((name(what)?, what.clone()))).collect()
    }
}

/// What a return from a handler shows is the answer of the call that was interrupted.
fn is_refused(what: &str) -> bool {
    what.contains(MISSING) && !what.starts_with("rt_sigreturn")
}

fn is_name(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// What was recorded of a template and its servers.
#[derive(Debug, Default)]
struct Recording {
    servers: usize,
    /// Templates that shut their memory before their first order.
    shut: usize,
    /// By the template, from its word that it is ready on, and by servers until they are under their filter.
    forking: Calls,
    /// By servers under their filter.
    serving: Calls,
    missing: Calls,
}

impl Recording {
    fn of(directory: &Path) -> Self {
        let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        let id = |path: &Path| path.extension()?.to_str()?.parse().ok();
        let threads: BTreeMap<i32, Thread> = files.filter_map(|path| Some((id(&path)?, Thread::read(&path)))).collect();
        let mut recording = Self::default();
        let is_ready = |what: &str| what.starts_with("sendto(") && what.contains(READY);
        for first in threads.values() {
            let ready = first.0.iter().find(|(_, what)| is_ready(what)).map(|(time, _)| *time);
            match (first.filtered_from(), ready) {
                (Some(filtered), _) => {
                    recording.servers += 1;
                    recording.forking.extend(first.calls(|time| time <= filtered, false));
                    let of_server = first.children().filter_map(|child| threads.get(&child)).chain([first]);
                    for thread in of_server {
                        recording.serving.extend(thread.calls(|time| time > filtered, false));
                        recording.missing.extend(thread.calls(|time| time > filtered, true));
                    }
                }
                (None, Some(ready)) => {
                    recording.shut += first.0.iter().filter(|(time, what)| *time < ready && what == SHUT).count();
                    recording.forking.extend(first.calls(|time| time >= ready, false));
                }
                (None, None) => {}
            }
        }
        recording
    }
}

/// A template of a model, of which every call is recorded.
struct Recorded {
    template: Template,
    directory: tempfile::TempDir,
}

impl Recorded {
    fn start(model: &Path) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let worker = command();
        let mut strace = Command::new("strace");
        strace
            .args(["-qq", "-ff", "--string-limit=8", "--absolute-timestamps=format:unix,precision:us", "--output"])
            .arg(directory.path().join(FILE_PREFIX))
            .arg(worker.get_program())
            .args(worker.get_args());
        let template = Template::of(Contained::start_by(strace), model);
        template.worker.is_ready();
        Self { template, directory }
    }

    fn finish(mut self) -> Recording {
        self.template.end();
        Recording::of(self.directory.path())
    }
}

fn demo_model(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/setup/models").join(name)
}

/// Zeros for a model's inputs. Of several open dimensions the first counts what is asked at once; the others are this
/// long.
fn zeros(server: &Server, open: i64) -> String {
    let metadata = server.send(Request::get("/v2/models/m")).ok().json();
    let input = |input: &Value| {
        let shape = input["shape"].as_array().unwrap().iter().map(|dim| dim.as_i64().unwrap());
        let mut sizes = iter::once(1).chain(iter::repeat(open));
        let shape: Vec<i64> = shape.map(|dim| if dim < 0 { sizes.next().unwrap() } else { dim }).collect();
        let elements = usize::try_from(shape.iter().product::<i64>()).unwrap();
        json!({"name": input["name"], "datatype": input["datatype"], "shape": shape, "data": vec![0; elements]})
    };
    let inputs: Vec<Value> = metadata["inputs"].as_array().unwrap().iter().map(input).collect();
    json!({ "inputs": inputs }).to_string()
}

fn iterations(count: u64) -> String {
    let input = json!({"name": "iterations", "datatype": "INT64", "shape": [], "data": [count]});
    json!({ "inputs": [input] }).to_string()
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// The demo models answer, as they do for whoever tries the product.
fn demo_models() -> Vec<Recording> {
    let record = |model: &str| {
        let recorded = Recorded::start(&demo_model(model));
        let server = recorded.template.fork(1);
        let request = zeros(&server, 256);
        for _ in 0..3 {
            server.infer(&request).ok();
        }
        server.stop(&recorded.template);
        recorded.finish()
    };
    ["silero_vad.onnx", "magika.onnx", "minilm.onnx"].map(record).into()
}

/// What is refused, compressed, large, and fails in the model.
fn requests() -> Recording {
    let recorded = Recorded::start(&fixture("dynamic.onnx"));
    let server = recorded.template.fork(1);
    let good = zeros(&server, 2);
    server.infer(&good).ok();
    server.infer(&zeros(&server, 60_000)).ok();
    let compressed = Request::infer(&gzip(&good)).header("content-encoding", "gzip");
    server.send(compressed.header("accept-encoding", "gzip")).ok();
    server.send(Request::infer(b"no gzip").header("content-encoding", "gzip")).error(400);
    server.infer("{\"inputs\":[").error(400);
    server.infer(&" ".repeat((1 << 20) + 1)).error(413);
    server.infer(MISMATCHED).error(500);
    // One that promises a body and goes.
    drop(Request::infer(b"{").header("content-length", "100").start(server.socket()));
    // A number is free again once its server is reaped; another one is killed.
    server.stop(&recorded.template);
    let killed = recorded.template.fork(1);
    killed.signal(Signal::KILL);
    recorded.finish()
}

/// A fault that is no stack overflow: its handler takes itself down, so that the next one ends the process.
fn crash() -> Recording {
    let recorded = Recorded::start(&fixture("dynamic.onnx"));
    let server = recorded.template.fork(1);
    server.crash(&recorded.template);
    recorded.finish()
}

/// Connections at once, callers who leave while the model runs, and an end in the middle.
fn cancellations() -> Recording {
    let recorded = Recorded::start(&fixture("slow.onnx"));
    let server = recorded.template.fork(1);
    let forever = || Request::infer(iterations(1 << 40).as_bytes()).start(server.socket());
    let waiting: Vec<UnixStream> = (0..8).map(|_| forever()).collect();
    drop(waiting);
    server.infer(&iterations(10)).ok();
    // Whether this one comes before the end is left to chance.
    let last = Request::infer(iterations(2_000).as_bytes()).start(server.socket());
    server.stop(&recorded.template);
    drop(last);
    recorded.finish()
}

#[test]
fn recorded_runs_of_servers_need_exactly_their_list() {
    let recordings: Vec<Recording> = demo_models().into_iter().chain([requests(), cancellations(), crash()]).collect();
    assert_eq!(recordings.iter().map(|recording| recording.servers).sum::<usize>(), 7);
    assert!(recordings.iter().all(|recording| recording.shut == 1), "{recordings:?}");
    let all = |of: fn(&Recording) -> &Calls| -> Calls { recordings.iter().flat_map(of).map(owned).collect() };
    let (serving, missing, forking) = (all(|it| &it.serving), all(|it| &it.missing), all(|it| &it.forking));
    for (name, example) in serving.iter().chain(&missing) {
        println!("{name:<20} {example}");
    }
    let made = |calls: &Calls| calls.keys().cloned().collect::<BTreeSet<String>>();
    let strings = |names: BTreeSet<&str>| names.into_iter().map(str::to_owned).collect::<BTreeSet<String>>();

    let server = List::read(SERVER);
    let unlisted: Vec<_> = made(&serving).difference(&strings(server.names())).cloned().collect();
    assert!(unlisted.is_empty(), "made, and not listed: {unlisted:?}");
    let unseen: Vec<_> = strings(server.seen()).difference(&made(&serving)).cloned().collect();
    assert!(unseen.is_empty(), "listed as seen, and not made: {unseen:?}");
    let without = DONE_WITHOUT.into_iter().map(|(name, _)| name).collect();
    assert_eq!(made(&missing), strings(without), "what is asked for in vain is known, and judged");

    let (worker, template) = (List::read(WORKER), List::read(TEMPLATE));
    let container: BTreeSet<_> = strings(worker.names()).union(&strings(template.names())).cloned().collect();
    let unlisted: Vec<_> =
        made(&forking).difference(&container).filter(|name| *name != WITHOUT_CONTAINER).cloned().collect();
    assert!(unlisted.is_empty(), "made to fork, and not listed: {unlisted:?}");
    let unseen: Vec<_> = strings(template.seen()).difference(&made(&forking)).cloned().collect();
    assert!(unseen.is_empty(), "listed for forking, and not made: {unseen:?}");
}

fn owned((name, example): (&String, &String)) -> (String, String) {
    (name.clone(), example.clone())
}

//! The list of system calls is what recorded runs of the real worker need, and the document says so.

use std::{collections::BTreeSet, fmt::Write as _, fs, io::Write, thread};

use dormouse_tests::{
    Connection, Daemon, Endpoint, Request, Round, Script, paths,
    script::Infer,
    strace::{Phase, Recorder, Recording},
    wait::until_true,
};
use flate2::{Compression, write::GzEncoder};
use serde::Deserialize;
use serde_json::json;

use crate::{fake, real};

const LIST: &str = "configs/seccomp/worker.json";
/// What is allowed in addition where servers are forked.
const TEMPLATE: &str = "configs/seccomp/template.json";
/// What a forked server leaves itself.
const SERVER: &str = "configs/seccomp/server.json";
const DOCUMENT: &str = "docs/seccomp.md";
/// Set, the table in the document is written instead of compared.
const WRITE_TABLE: &str = "DORMOUSE_WRITE_TABLE";
/// What the recorded runs ask for in vain, each with how the caller does without.
const DONE_WITHOUT: &[(&str, &str)] = &[
    ("clone3", "the C library makes threads with clone"),
    (
        "sysinfo",
        "before it sorts a long list, the C library asks how much memory there is, to choose one of two ways to sort",
    ),
];
const BODY_BYTES_MAX: usize = 64 << 10;
/// Takes many seconds, where nobody gives it up.
const ITERATIONS: u64 = 1_000_000;

#[derive(Debug, Deserialize)]
struct List {
    allowed: Vec<Allowed>,
    #[serde(default)]
    killed: Vec<Killed>,
}

#[derive(Debug, Deserialize)]
struct Allowed {
    name: String,
    only: Option<String>,
    reason: String,
    seen: Option<Phase>,
    unseen: Option<String>,
    #[serde(default)]
    when: Vec<When>,
}

#[derive(Debug, Deserialize)]
struct When {
    means: String,
}

#[derive(Debug, Deserialize)]
struct Killed {
    names: Vec<String>,
    only: Option<String>,
    reason: String,
}

impl List {
    fn read(path: &str) -> Self {
        serde_json::from_str(&fs::read_to_string(paths::repository().join(path)).unwrap()).unwrap()
    }
}

#[test]
fn recorded_runs_need_exactly_the_list() {
    let home = real().in_round(Round::Created).endpoint("freeze_after", "\"300ms\"").set(
        "gateway",
        "body_bytes_max",
        "\"64Ki\"",
    );
    let daemon = home.endpoint("zero_after", "\"2s\"").start();
    let recorder = Recorder::attach(daemon.pid());
    demo_models(&daemon);
    fixtures(&daemon);
    refusals(&daemon);
    an_end_in_the_middle(&daemon);
    daemon.stop();
    let recording = recorder.finish();
    println!("{} replicas, {} threads", recording.replicas, recording.threads);
    print(&recording);
    compare(&List::read(LIST), &recording);
}

/// With one thread and with as many as the machine has processors.
fn demo_models(daemon: &Daemon) {
    let threads = thread::available_parallelism().unwrap().to_string();
    for (name, model) in [("silero", "silero_vad.onnx"), ("magika", "magika.onnx"), ("minilm", "minilm.onnx")] {
        let endpoint = daemon.deploy(name, &paths::model(model));
        let _ = daemon.cli(&["infer", name]);
        // Frozen, and thawed by a call.
        endpoint.until_phases(&["frozen"]);
        let _ = daemon.cli(&["infer", name]);
        let settings = [("intra-op-threads", threads.as_str()), ("cpu", threads.as_str())];
        daemon.deploy_with(name, &paths::model(model), &settings);
        let _ = daemon.cli(&["infer", name]);
    }
    let starved = [("memory", "48Mi"), ("tmp", "1Mi")];
    let manifest = dormouse_tests::daemon::manifest("starved", &paths::model("minilm.onnx"), &starved);
    let manifest = daemon.home().write("starved.yaml", manifest);
    let told = daemon.cli(&["deploy", "-f", manifest.to_str().unwrap()]).failed(1);
    assert!(told.contains("out of memory"), "{told}");
}

/// Every datatype, and everything that a load can fail with.
fn fixtures(daemon: &Daemon) {
    let mut served = 0;
    let mut refused = 0;
    let fixtures = fs::read_dir(paths::fixture("")).unwrap().map(|entry| entry.unwrap().path());
    for path in fixtures.filter(|path| path.is_dir() || path.extension().is_some_and(|extension| extension == "onnx")) {
        let name = path.file_stem().unwrap().to_str().unwrap().replace('_', "-");
        if daemon.cli(&["deploy", path.to_str().unwrap(), "--name", &name]).code == Some(0) {
            let _ = daemon.cli(&["infer", &name]);
            served += 1;
        } else {
            refused += 1;
        }
    }
    assert!(served >= 10 && refused >= 4, "{served} served, {refused} refused");
}

/// Requests that a worker refuses, and clients that go away.
fn refusals(daemon: &Daemon) {
    let input = |name: &str, shape: &[i64], data: &[i64]| json!({ "name": name, "datatype": "FP32", "shape": shape, "data": data });
    let inputs = |inputs: &[serde_json::Value]| json!({ "inputs": inputs }).to_string();
    let good = inputs(&[input("a", &[1, 2], &[1, 2]), input("b", &[1, 2], &[3, 4])]);
    let path = "/v2/models/dynamic/infer";
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(good.as_bytes()).unwrap();
    let gzip = encoder.finish().unwrap();
    let asks = [
        (200, Request::post(path, good.clone())),
        (200, Request::post(path, gzip).header("content-encoding", "gzip").header("accept-encoding", "gzip")),
        (400, Request::post(path, inputs(&[input("c", &[1, 2], &[1, 2])]))),
        (400, Request::post(path, inputs(&[input("a", &[-1], &[1, 2])]))),
        (400, Request::post(path, "{\"inputs\":[")),
        (400, Request::post(path, b"no gzip".as_slice()).header("content-encoding", "gzip")),
        (413, Request::post(path, vec![b' '; BODY_BYTES_MAX + 1])),
        (500, Request::post(path, inputs(&[input("a", &[1, 3], &[1, 2, 3]), input("b", &[1, 2], &[3, 4])]))),
        (200, Request::get("/v2/models/dynamic")),
    ];
    for (status, request) in &asks {
        let answer = daemon.send(request);
        assert_eq!(answer.status, *status, "{}", answer.text());
    }
    // One that promises a body and goes, one that goes while the model runs.
    let mut connection = Connection::to(daemon.address());
    connection.write(format!("POST {path} HTTP/1.1\r\nhost: d\r\ncontent-length: 100\r\n\r\n{{").as_bytes()).unwrap();
    drop(connection);
    let slow = Endpoint::of(daemon, "slow");
    let mut connection = Connection::to(daemon.address());
    connection.write(&endless().bytes()).unwrap();
    slow.until_leases(1);
    drop(connection);
    slow.until_leases(0);
}

fn endless() -> Request {
    let iterations = json!({ "name": "iterations", "datatype": "INT64", "shape": [], "data": [ITERATIONS] });
    Request::infer("slow", &json!({ "inputs": [iterations] }))
}

/// The endpoint is deleted while its model runs.
fn an_end_in_the_middle(daemon: &Daemon) {
    let slow = Endpoint::of(daemon, "slow");
    let mut connection = Connection::to(daemon.address());
    connection.write(&endless().bytes()).unwrap();
    slow.until_leases(1);
    thread::scope(|scope| {
        let deleted = scope.spawn(|| slow.delete());
        // A delete waits for what runs, unless whoever asked for it goes.
        drop(connection);
        deleted.join().unwrap();
    });
    until_true("its processes are gone", || slow.processes_and_makers().is_empty());
}

fn print(recording: &Recording) {
    for (name, phases) in &recording.made {
        println!("{name:<20} {phases:?}");
    }
    for (name, example) in &recording.missing {
        println!("{name:<20} missing: {example}");
    }
}

fn compare(list: &List, recording: &Recording) {
    let names: BTreeSet<&str> = list.allowed.iter().map(|call| call.name.as_str()).collect();
    for name in recording.made.keys() {
        assert!(names.contains(name.as_str()), "{name} was made, and is not listed");
    }
    for call in &list.allowed {
        let made = recording.made.get(&call.name);
        match (call.seen, made) {
            (Some(phase), made) => {
                assert!(made.is_some_and(|made| made.contains(&phase)), "{} was not seen in {phase:?}", call.name);
            }
            (None, _) => assert!(call.unseen.is_some(), "{}", call.name),
        }
    }
    let without: BTreeSet<&str> = DONE_WITHOUT.iter().map(|(name, _)| *name).collect();
    let missing: BTreeSet<&str> = recording.missing.keys().map(String::as_str).collect();
    assert_eq!(missing, without, "what is asked for in vain is known, and judged");
}

#[test]
fn the_document_shows_the_lists() {
    let path = paths::repository().join(DOCUMENT);
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(TABLES_BEGIN).expect("tables");
    let (_, after) = rest.split_once(TABLES_END).expect("an end of the tables");
    let expected = format!("{before}{TABLES_BEGIN}{}{TABLES_END}{after}", tables());
    if std::env::var_os(WRITE_TABLE).is_some() {
        fs::write(&path, &expected).unwrap();
    }
    let text = fs::read_to_string(&path).unwrap();
    assert!(text == expected, "{DOCUMENT} does not show the lists: run this test with {WRITE_TABLE}=1 and look at it");
}

const TABLES_BEGIN: &str = "<!-- made from the lists -->\n";
const TABLES_END: &str = "<!-- end of what is made from the lists -->";

fn tables() -> String {
    let mut text = String::from("\n### Every container\n");
    add_table(&mut text, &List::read(LIST));
    text.push_str("\n| asked for in vain | what the caller does |\n|---|---|\n");
    for (name, how) in DONE_WITHOUT {
        writeln!(text, "| `{name}` | {how} |").unwrap();
    }
    text.push_str("\n### Containers of templates, in addition\n");
    add_table(&mut text, &List::read(TEMPLATE));
    text.push_str("\n### What of both is left to a server\n");
    add_table(&mut text, &List::read(SERVER));
    text.push('\n');
    text
}

fn add_table(text: &mut String, list: &List) {
    let of = |architecture| move |call: &&Allowed| call.only.as_ref().is_none_or(|only| only == architecture);
    let count = |architecture| list.allowed.iter().filter(of(architecture)).count();
    let conditional = list.allowed.iter().filter(|call| !call.when.is_empty()).count();
    let killed: usize = list.killed.iter().map(|killed| killed.names.len()).sum();
    write!(
        text,
        "\n{} calls are allowed on x86-64, {} on arm64; {conditional} of them under conditions.",
        count("x86-64"),
        count("arm64")
    )
    .unwrap();
    text.push_str(&if killed > 0 { format!(" {killed} kill.\n") } else { "\n".to_owned() });
    text.push_str("\n| call | reason | seen in | only where |\n|---|---|---|---|\n");
    for call in &list.allowed {
        let seen = match (call.seen, &call.unseen) {
            (Some(phase), _) => format!("{phase:?}").to_lowercase(),
            (None, Some(why)) => format!("– {why}"),
            (None, None) => panic!("{} was neither seen nor says why not", call.name),
        };
        let only = of_architecture(call.only.as_ref());
        let means: Vec<&str> = call.when.iter().map(|when| when.means.as_str()).collect();
        writeln!(text, "| `{}`{only} | {} | {seen} | {} |", call.name, call.reason, means.join("; or ")).unwrap();
    }
    if list.killed.is_empty() {
        return;
    }
    text.push_str("\n| calls that kill | reason |\n|---|---|\n");
    for killed in &list.killed {
        let only = of_architecture(killed.only.as_ref());
        writeln!(text, "| `{}`{only} | {} |", killed.names.join("` `"), killed.reason).unwrap();
    }
}

fn of_architecture(only: Option<&String>) -> String {
    only.map_or_else(String::new, |only| format!(" ({only})"))
}

#[test]
fn a_forbidden_call_is_told_from_a_crash() {
    let daemon = fake().start();
    let endpoint = daemon.deploy_fake("m", Script::echo().infer(Infer::ForbiddenCall), &[]);
    let error = daemon.send(&endpoint.echo_request(1)).error(502);
    assert!(error.contains("SIGSYS") && error.contains("forbidden system call"), "{error}");
    until_true("status shows it", || {
        endpoint.status()["last_failure"].as_str().is_some_and(|failure| failure.contains("forbidden system call"))
    });
    endpoint.play(Script::echo());
    endpoint.check_echo(2);
}

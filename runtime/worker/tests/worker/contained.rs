//! The control channel: one assignment in, one verdict out.

use std::fs::File;
use std::io::Write;
use std::iter;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::net::SendFlags;
use serde_json::{Value, json};

use crate::control::{Contained, assignment, channel, descriptor_source, file_source, fixture_source};
use crate::http::{Request, Response};
use crate::process::{command, fixture, wait};

impl Contained {
    fn assign(&self, model: &Path) {
        self.assign_work("serve", &[file_source(model)], &[]);
    }

    fn assign_work(&self, work: &str, sources: &[Value], files: &[&File]) {
        let listener = UnixListener::bind(self.socket()).unwrap();
        let descriptors: Vec<_> = iter::once(listener.as_fd()).chain(files.iter().map(|file| file.as_fd())).collect();
        self.send(&assignment(work, 2, sources), &descriptors);
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }
}

#[test]
fn serves_what_it_is_assigned() {
    let worker = Contained::start();
    worker.assign(&fixture("external/model.onnx"));
    let verdict = worker.verdict();
    let loading: serde_json::Value = serde_json::from_str(verdict.strip_prefix('R').unwrap()).unwrap();
    let phases: Vec<&str> = loading.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(phases, ["model_us", "runtime_us", "session_us"]);
    assert!(phases.iter().all(|phase| loading[phase].as_u64().is_some_and(|micros| micros > 0)), "{loading}");
    let json = r#"{"inputs":[{"name":"x","shape":[4],"datatype":"FP32","data":[0,0,0,0]}]}"#;
    let answer = Request::infer(json.as_bytes()).send(&worker.socket()).ok().json();
    assert_eq!((&answer["model_name"], &answer["model_version"]), (&json!("assigned"), &json!("3")));
}

#[test]
fn reports_why_a_model_cannot_be_loaded() {
    let mut worker = Contained::start();
    worker.assign(&fixture("unsupported_op.onnx"));
    let verdict = worker.verdict();
    assert!(verdict.starts_with("Ethe model cannot be loaded: ") && verdict.contains("NoSuchOperator"), "{verdict}");
    assert!(verdict.len() <= 1 + 4096);
    worker.ends_with(1);
}

#[test]
fn refuses_an_assignment_that_is_none() {
    let mut worker = Contained::start();
    rustix::net::send(&worker.control, b"{}", SendFlags::empty()).unwrap();
    assert_eq!(worker.verdict(), "Ethe assignment is malformed: missing field `name` at line 1 column 2");
    worker.ends_with(1);
}

#[test]
fn ends_quietly_when_nobody_assigns_anything() {
    let mut worker = Contained::start();
    rustix::net::shutdown(&worker.control, rustix::net::Shutdown::Write).unwrap();
    assert_eq!(worker.verdict(), "");
    worker.ends_with(0);
}

#[test]
fn refuses_to_start_with_telemetry_on() {
    let (_control, theirs) = channel();
    let mut child = command().env_remove("ORT_DISABLE_TELEMETRY").stdin(Stdio::from(theirs)).spawn().unwrap();
    assert_eq!(wait(&mut child).code(), Some(1));
}

const EXTERNAL: &str = "external/model.onnx";
const ZEROS: &str = r#"{"inputs":[{"name":"x","shape":[4],"datatype":"FP32","data":[0,0,0,0]}]}"#;

/// A worker that was told to prepare a fixture.
fn preparing(fixture_name: &str) -> Contained {
    let worker = Contained::start();
    worker.assign_work("prepare", &[fixture_source(fixture_name)], &[]);
    worker.is_ready();
    worker
}

fn prepare(worker: &Contained, sample: &str) -> Response {
    Request::new("POST", "/v2/models/assigned/prepare", sample.as_bytes()).send(&worker.socket())
}

/// The prepared model of a fixture, in a file.
fn prepared(fixture_name: &str) -> File {
    let answer = prepare(&preparing(fixture_name), "").ok();
    assert_eq!(answer.header("dormouse-verified"), Some("seeded"));
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&answer.body).unwrap();
    file
}

#[test]
fn a_prepared_model_serves_without_the_original_and_its_external_data() {
    let worker = Contained::start();
    worker.assign_work("serve", &[descriptor_source("ort")], &[&prepared(EXTERNAL)]);
    worker.is_ready();
    let original = Contained::start();
    original.assign(&fixture(EXTERNAL));
    original.is_ready();
    let [prepared, original] = [worker, original].map(|it| Request::infer(ZEROS.as_bytes()).send(&it.socket()).ok());
    assert_eq!(prepared.body, original.body);
}

#[test]
fn an_onnx_graph_serves_from_a_descriptor() {
    let worker = Contained::start();
    worker.assign_work("serve", &[descriptor_source("onnx")], &[&File::open(fixture("dynamic.onnx")).unwrap()]);
    worker.is_ready();
}

#[test]
fn a_prepared_model_that_cannot_be_loaded_leaves_the_original_to_serve() {
    let mut damaged = tempfile::tempfile().unwrap();
    damaged.write_all(b"no model at all").unwrap();
    let mut cut_off = prepared(EXTERNAL);
    let half = cut_off.metadata().unwrap().len() / 2;
    cut_off.set_len(half).unwrap();
    cut_off.flush().unwrap();
    for file in [damaged, cut_off, tempfile::tempfile().unwrap()] {
        let mut worker = Contained::start();
        worker.assign_work("serve", &[descriptor_source("ort"), fixture_source(EXTERNAL)], &[&file]);
        worker.is_ready();
        Request::infer(ZEROS.as_bytes()).send(&worker.socket()).ok();
        let said = worker.said();
        assert!(said.contains("the next source of the model is used: the model"), "{said}");
    }
}

#[test]
fn only_what_prepares_can_be_told_to_and_it_answers_nothing_else() {
    let serving = Contained::start();
    serving.assign(&fixture(EXTERNAL));
    serving.is_ready();
    assert_eq!(prepare(&serving, "").status, 404);
    let preparing = preparing(EXTERNAL);
    assert_eq!(Request::infer(ZEROS.as_bytes()).send(&preparing.socket()).status, 404);
    prepare(&preparing, ZEROS).ok();
    let again = prepare(&preparing, "");
    assert!(again.status == 422 && again.text().contains("earlier preparation"), "{}", again.text());
}

#[test]
fn a_sample_is_what_the_answers_are_compared_on() {
    let answer = prepare(&preparing(EXTERNAL), ZEROS).ok();
    assert_eq!(answer.header("dormouse-verified"), Some("sample"));
    for (sample, reason) in [("{", "not a V2 inference request"), (&ZEROS.replace("[4]", "[2,2]"), "shape")] {
        let refused = prepare(&preparing(EXTERNAL), sample);
        assert!(refused.status == 400 && refused.text().contains(reason), "{}", refused.text());
    }
}

#[test]
fn what_answers_at_random_is_not_prepared() {
    let refused = prepare(&preparing("random.onnx"), "");
    assert!(refused.status == 422 && refused.text().contains("differently each time"), "{}", refused.text());
}

#[test]
fn what_refuses_every_seeded_input_is_prepared_and_not_verified() {
    let answer = prepare(&preparing("picky.onnx"), "").ok();
    assert_eq!(answer.header("dormouse-verified"), Some("no"));
}

#[test]
fn descriptors_and_sources_have_to_match() {
    let file = File::open(fixture("dynamic.onnx")).unwrap();
    for (sources, files, expected) in [
        (vec![], vec![], "names 0 sources"),
        (vec![descriptor_source("ort")], vec![], "0 descriptors of models where 1"),
        (vec![fixture_source(EXTERNAL)], vec![&file], "1 descriptors of models where 0"),
        (vec![fixture_source(EXTERNAL); 3], vec![], "names 3 sources"),
        (vec![json!({"kind": "shell"})], vec![], "unknown variant `shell`"),
    ] {
        let worker = Contained::start();
        worker.assign_work("serve", &sources, &files);
        let verdict = worker.verdict();
        assert!(verdict.starts_with('E') && verdict.contains(expected), "{verdict}");
    }
}

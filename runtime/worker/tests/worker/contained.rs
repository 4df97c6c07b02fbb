//! The control channel: one assignment in, one verdict out.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Stdio};

use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use serde_json::json;

use crate::http::Request;
use crate::process::{command, fixture, wait};

struct Contained {
    child: Child,
    control: OwnedFd,
    directory: tempfile::TempDir,
}

impl Contained {
    fn start() -> Self {
        let (control, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        let child = command().env("ORT_DISABLE_TELEMETRY", "1").stdin(Stdio::from(theirs)).spawn().unwrap();
        let worker = Self { child, control, directory: tempfile::tempdir().unwrap() };
        assert_eq!(worker.verdict(), b"B", "it is there before it is assigned anything");
        worker
    }

    fn assign(&self, model: &Path) {
        let assignment = json!({"name": "assigned", "version": "3", "model": model, "intra_op_threads": 2,
            "body_bytes_max": 1 << 20, "concurrency": 4});
        let listener = UnixListener::bind(self.socket()).unwrap();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let descriptors = [listener.as_fd()];
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)));
        let text = assignment.to_string();
        let parts = [IoSlice::new(text.as_bytes())];
        rustix::net::sendmsg(&self.control, &parts, &mut ancillary, SendFlags::empty()).unwrap();
    }

    fn socket(&self) -> std::path::PathBuf {
        self.directory.path().join("socket")
    }

    /// The next datagram from the worker; empty at the end of the channel.
    fn verdict(&self) -> Vec<u8> {
        let mut buffer = vec![0; 8192];
        let (read, _) = rustix::net::recv(&self.control, &mut buffer[..], RecvFlags::empty()).unwrap();
        buffer.truncate(read);
        buffer
    }
}

impl Drop for Contained {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn serves_what_it_is_assigned() {
    let worker = Contained::start();
    worker.assign(&fixture("external/model.onnx"));
    let verdict = worker.verdict();
    let loading: serde_json::Value = serde_json::from_slice(verdict.strip_prefix(b"R").unwrap()).unwrap();
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
    let verdict = String::from_utf8(worker.verdict()).unwrap();
    assert!(verdict.starts_with("Ethe model cannot be loaded: ") && verdict.contains("NoSuchOperator"), "{verdict}");
    assert!(verdict.len() <= 1 + 4096);
    assert_eq!(wait(&mut worker.child).code(), Some(1));
}

#[test]
fn refuses_an_assignment_without_a_listener() {
    let mut worker = Contained::start();
    rustix::net::send(&worker.control, b"{}", SendFlags::empty()).unwrap();
    assert_eq!(worker.verdict(), b"Ethe assignment carries 0 descriptors instead of one listener");
    assert_eq!(wait(&mut worker.child).code(), Some(1));
}

#[test]
fn ends_quietly_when_nobody_assigns_anything() {
    let mut worker = Contained::start();
    rustix::net::shutdown(&worker.control, rustix::net::Shutdown::Write).unwrap();
    assert_eq!(worker.verdict(), b"");
    assert_eq!(wait(&mut worker.child).code(), Some(0));
}

#[test]
fn refuses_to_start_with_telemetry_on() {
    let (_control, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    let mut child = command().env_remove("ORT_DISABLE_TELEMETRY").stdin(Stdio::from(theirs)).spawn().unwrap();
    assert_eq!(wait(&mut child).code(), Some(1));
}

//! Starting workers and waiting for what they say.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::http::{Request, Response};

/// How long anything here may take before the test fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// The ONNX Runtime library: `DORMOUSE_ONNXRUNTIME`, else where the set-up puts it.
pub(crate) fn library() -> PathBuf {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/setup/onnxruntime/libonnxruntime.so");
    let library = std::env::var_os("DORMOUSE_ONNXRUNTIME").map_or_else(default, PathBuf::from);
    assert!(
        library.exists(),
        "no ONNX Runtime at {}: run `make setup`, or set DORMOUSE_ONNXRUNTIME to libonnxruntime.so",
        library.display()
    );
    library
}

pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(name)
}

pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dormouse-worker"));
    command.arg("--onnxruntime").arg(library());
    command
}

/// A bare worker; killed when dropped.
pub(crate) struct Worker {
    pub(crate) child: Child,
    pub(crate) directory: tempfile::TempDir,
}

impl Worker {
    pub(crate) fn start(model: &str) -> Self {
        Self::start_with(model, &[])
    }

    /// Starts a worker on a fixture and waits until it says that it is ready.
    pub(crate) fn start_with(model: &str, extra: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut child = command()
            .args(["--bare", "--name", "tested", "--version", "7", "--model"])
            .arg(fixture(model))
            .arg("--socket")
            .arg(directory.path().join("socket"))
            .args(extra)
            .env("HOME", directory.path())
            .env_remove("ORT_DISABLE_TELEMETRY")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let worker = Self { child, directory };
        assert_eq!(line, "ready\n");
        worker
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    pub(crate) fn send(&self, request: Request) -> Response {
        request.send(&self.socket())
    }

    pub(crate) fn infer(&self, json: &str) -> Response {
        self.send(Request::infer(json.as_bytes()))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a worker that is expected to end by itself.
pub(crate) fn run_to_end(command: &mut Command) -> (ExitStatus, String) {
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    (wait(&mut child), stderr)
}

pub(crate) fn wait(child: &mut Child) -> ExitStatus {
    eventually("the worker ends", || child.try_wait().unwrap())
}

/// Asks until there is an answer.
pub(crate) fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < DEADLINE, "waited too long until {what}");
        std::thread::yield_now();
    }
}

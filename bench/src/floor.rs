use std::{
    io::{BufRead, BufReader},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crate::{Failure, http::Connection, model::Model};

/// The floor: the product's own worker, without container, gateway or controller.
#[derive(Debug)]
pub(crate) struct BareWorker {
    child: Child,
    socket: PathBuf,
    _directory: tempfile::TempDir,
}

impl BareWorker {
    /// Executes it and waits until its session is built.
    pub(crate) fn start(program: &Path, onnxruntime: &Path, model: &Model) -> Result<Self, Failure> {
        let directory = tempfile::tempdir()?;
        let socket = directory.path().join("worker.sock");
        let mut child = Command::new(program)
            .args(["worker", "--bare", "--name", model.name, "--onnxruntime"])
            .arg(onnxruntime)
            .arg("--model")
            .arg(&model.path)
            .arg("--socket")
            .arg(&socket)
            .env("ORT_DISABLE_TELEMETRY", "1")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut line = String::new();
        let said = child.stdout.take().map(|stdout| BufReader::new(stdout).read_line(&mut line));
        let worker = Self { child, socket, _directory: directory };
        match said {
            Some(Ok(_)) if line.trim() == "ready" => Ok(worker),
            _ => Err("the bare worker did not become ready".into()),
        }
    }

    pub(crate) fn connect(&self) -> Result<Connection<UnixStream>, Failure> {
        Ok(Connection::new(UnixStream::connect(&self.socket)?))
    }

    pub(crate) fn infer(&self, model: &Model) -> Result<(), Failure> {
        Ok(self.connect()?.infer(model.name, model)?)
    }
}

impl Drop for BareWorker {
    fn drop(&mut self) {
        // Where it ended already there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

//! The floor: the product's own worker with the original model, as a bare process. No container, no gateway, no
//! controller.

use std::{
    io::{BufRead, BufReader},
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    Bench, Failure,
    http::Connection,
    models::{Answer, Model},
};

#[derive(Debug)]
pub(crate) struct BareWorker {
    child: Child,
    directory: tempfile::TempDir,
}

impl BareWorker {
    /// Executes it and waits until its session is built.
    pub(crate) fn start(bench: &Bench, model: &Model) -> Result<Self, Failure> {
        let directory = tempfile::tempdir()?;
        let mut child = Command::new(&bench.program)
            .args(["worker", "--bare", "--name", model.name, "--onnxruntime"])
            .arg(&bench.onnxruntime)
            .arg("--model")
            .arg(&model.path)
            .arg("--socket")
            .arg(directory.path().join("worker.sock"))
            .env("ORT_DISABLE_TELEMETRY", "1")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut line = String::new();
        let said = child.stdout.take().map(|stdout| BufReader::new(stdout).read_line(&mut line));
        let worker = Self { child, directory };
        match said {
            Some(Ok(_)) if line.trim() == "ready" => Ok(worker),
            _ => Err(format!("the bare worker of {} did not become ready", model.name).into()),
        }
    }

    pub(crate) fn connect(&self) -> Result<Connection<UnixStream>, Failure> {
        Ok(Connection::new(UnixStream::connect(self.socket())?))
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("worker.sock")
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }
}

/// From its execution to its first answer, with that answer. Its end is not part of it.
pub(crate) fn first_answer(bench: &Bench, model: &Model) -> Result<(Duration, Answer), Failure> {
    let begun = Instant::now();
    let worker = BareWorker::start(bench, model)?;
    let body = worker.connect()?.infer(model.name, &model.request)?;
    let took = begun.elapsed();
    Ok((took, Answer::parse(&body)?))
}

impl Drop for BareWorker {
    fn drop(&mut self) {
        // Where it ended already there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

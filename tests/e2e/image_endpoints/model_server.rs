//! A model server of the field in an image (FastAPI, uvicorn, ONNX Runtime), asked by `tritonclient`. What it answers is
//! compared with the built-in worker's answers to the same.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::fs::{PermissionsExt, chown},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use dormouse_tests::{Daemon, Endpoint, Registry, paths};

use super::{IMAGE, import};
use crate::{
    images::{built, home},
    real,
};

/// `tritonclient`, on the same connections for as long as it is asked.
struct Client {
    process: Child,
    says: ChildStdin,
    hears: BufReader<ChildStdout>,
}

impl Client {
    /// Of an endpoint of the model server and one of the worker, of the same model.
    fn of(daemon: &Daemon, server: &str, worker: &str) -> Self {
        let mut command = Command::new(paths::python());
        command.arg(paths::repository().join("tests/python/model_server_client.py"));
        command.arg(format!("http://{}", daemon.address())).args([server, worker]);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (says, hears) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        Self { process, says, hears: BufReader::new(hears) }
    }

    /// One of the checks of the script.
    #[track_caller]
    fn finds(&mut self, check: &str) {
        writeln!(self.says, "{check}").unwrap();
        let mut told = String::new();
        self.hears.read_line(&mut told).unwrap();
        assert_eq!(told.trim_end(), format!("{check}: as expected"));
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn tritonclient_gets_the_answers_of_a_server_that_sleeps_between_them() {
    let registry = Registry::start();
    registry.push(&built("model-server"), "team/vad:latest");
    let daemon = home(&[registry.address()]).endpoint("freeze_after", "\"50ms\"").start();
    daemon.deploy("silero", &paths::model("silero_vad.onnx"));
    let _ = daemon.cli(&["deploy", &registry.reference("team/vad:latest")]).ok();
    let vad = Endpoint::of(&daemon, "vad");
    let mut client = Client::of(&daemon, "vad", "silero");

    vad.until_phases(&[]);
    client.finds("inference");
    vad.until_phases(&["frozen"]);
    let processes = vad.processes();
    for check in ["inference", "description", "concurrency", "refusal"] {
        client.finds(check);
        vad.until_phases(&["frozen"]);
    }
    assert_eq!(vad.processes(), processes, "it was thawed each time");
    assert_eq!(vad.status()["last_wake"]["rung"], "frozen");
    // What the node could have answered itself was asked of the server.
    let log = daemon.cli(&["logs", "vad"]).ok().stdout;
    for path in ["/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/vad", "/v2/models/vad/ready"] {
        assert!(log.contains(&format!("\"GET {path} HTTP/1.1\" 200 OK")), "{path} in {log}");
    }
}

#[test]
fn a_custom_predictor_serves_the_model_that_its_storage_uri_names() {
    let models = tempfile::tempdir().unwrap();
    let _ = std::fs::copy(paths::model("magika.onnx"), models.path().join("model.onnx")).unwrap();
    std::fs::set_permissions(models.path(), PermissionsExt::from_mode(0o755)).unwrap();
    chown(models.path(), Some(4321), Some(4321)).unwrap();
    let path = models.path().display();
    let home = real().set("sandbox", "host_paths", &format!("[{{ path = \"{path}\", read_only = true }}]"));
    let daemon = home.endpoint("freeze_after", "\"10m\"").endpoint("zero_after", "\"1s\"").start();
    import(&daemon, "model-server");
    daemon.deploy("magika", &paths::model("magika.onnx"));
    let manifest = format!(
        r#"
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {{ name: file-type }}
spec:
  predictor:
    minReplicas: 0
    maxReplicas: 2
    containerConcurrency: 4
    containers:
      - name: kserve-container
        image: {IMAGE}
        args: [-m, uvicorn, "server:app", --host, 0.0.0.0, --port, $(PORT)]
        env:
          - {{ name: STORAGE_URI, value: "file://{path}" }}
          - {{ name: MODEL_NAME, value: file-type }}
          - {{ name: OMP_NUM_THREADS, value: "1" }}
        resources: {{ limits: {{ cpu: "1", memory: 512Mi }} }}
        readinessProbe: {{ httpGet: {{ path: /v2/models/file-type/ready, port: 8080 }} }}
        livenessProbe: {{ httpGet: {{ path: /v2/health/live, port: 8080 }}, periodSeconds: 1, timeoutSeconds: 10 }}
"#
    );
    let file = daemon.home().write("file-type.yaml", manifest);
    let _ = daemon.cli(&["deploy", "-f", file.to_str().unwrap()]).ok();
    let file_type = Endpoint::of(&daemon, "file-type");
    let mut client = Client::of(&daemon, "file-type", "magika");
    for check in ["inference", "concurrency"] {
        file_type.until_phases(&[]);
        client.finds(check);
    }
    for check in ["description", "refusal"] {
        client.finds(check);
    }
}

use std::{
    fs::File,
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    Failure,
    http::Connection,
    model::{FREEZES_SOON, Model, SLEEPS_SOON},
};

/// Longest wait for a state that must come by itself.
const STATE_DEADLINE: Duration = Duration::from_secs(30);
/// How often the metrics are read while waiting. Far from the samples: an idle second follows.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The daemon under measurement with one model under two names.
#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
    address: SocketAddr,
    program: PathBuf,
    directory: tempfile::TempDir,
}

impl Daemon {
    pub(crate) fn start(program: &Path, onnxruntime: &Path, model: &Model) -> Result<Self, Failure> {
        let directory = tempfile::tempdir()?;
        // Given back just before it is used; nobody else on a measuring machine takes it.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let configuration = directory.path().join("dormouse.toml");
        std::fs::write(
            &configuration,
            format!("[gateway]\nlisten = \"{address}\"\n[sandbox]\nonnxruntime = \"{}\"\n", onnxruntime.display()),
        )?;
        let log = File::create(directory.path().join("daemon.log"))?;
        let child = Command::new(program)
            .args(["daemon", "--config"])
            .arg(&configuration)
            .args(Self::directories(directory.path()))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        let daemon = Self { child, address, program: program.to_owned(), directory };
        daemon.until("the daemon answers", || Ok(daemon.get("/healthz").is_ok()))?;
        daemon.deploy(SLEEPS_SOON, model, "100ms", "200ms")?;
        daemon.deploy(FREEZES_SOON, model, "200ms", "10m")?;
        Ok(daemon)
    }

    fn directories(under: &Path) -> [String; 4] {
        let path = |name: &str| under.join(name).display().to_string();
        ["--data".into(), path("data"), "--run".into(), path("run")]
    }

    fn deploy(&self, name: &str, model: &Model, freeze_after: &str, zero_after: &str) -> Result<(), Failure> {
        let manifest = self.directory.path().join(format!("{name}.yaml"));
        std::fs::write(
            &manifest,
            format!(
                "apiVersion: serving.kserve.io/v1beta1\nkind: InferenceService\nmetadata:\n  name: {name}\n  annotations:\n    \
                 dormouse.dev/freeze-after: {freeze_after}\n    dormouse.dev/zero-after: {zero_after}\nspec:\n  predictor:\n    \
                 minReplicas: 0\n    model:\n      modelFormat: {{name: onnx}}\n      protocolVersion: v2\n      \
                 storageUri: file://{}\n",
                model.path.canonicalize()?.display()
            ),
        )?;
        let output = Command::new(&self.program)
            .arg("deploy")
            .args(Self::directories(self.directory.path()))
            .arg("-f")
            .arg(&manifest)
            .output()?;
        if output.status.success() {
            Ok(())
        } else {
            Err(format!("deploying {name}: {}", String::from_utf8_lossy(&output.stderr)).into())
        }
    }

    pub(crate) fn connect(&self) -> Result<Connection<TcpStream>, Failure> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        Ok(Connection::new(stream))
    }

    pub(crate) fn infer(&self, endpoint: &str, model: &Model) -> Result<(), Failure> {
        Ok(self.connect()?.infer(endpoint, model)?)
    }

    pub(crate) fn until_zero(&self, endpoint: &str) -> Result<(), Failure> {
        self.until("the endpoint is at zero", || Ok(self.phases(endpoint)?.is_empty()))
    }

    pub(crate) fn until_frozen(&self, endpoint: &str) -> Result<(), Failure> {
        self.until("the replica is frozen", || Ok(self.phases(endpoint)? == ["frozen"]))
    }

    /// The phases that some replica of the endpoint is in.
    fn phases(&self, endpoint: &str) -> Result<Vec<String>, Failure> {
        let metrics = self.get("/metrics")?;
        let prefix = format!("dormouse_replicas{{endpoint=\"{endpoint}\",phase=\"");
        let phases = BufReader::new(metrics.as_slice())
            .lines()
            .map_while(Result::ok)
            .filter(|line| !line.ends_with(" 0"))
            .filter_map(|line| Some(line.strip_prefix(&prefix)?.split('"').next()?.to_owned()))
            .collect();
        Ok(phases)
    }

    fn get(&self, path: &str) -> Result<Vec<u8>, Failure> {
        Ok(self.connect()?.send("GET", path, b"")?)
    }

    fn until(&self, what: &str, holds: impl Fn() -> Result<bool, Failure>) -> Result<(), Failure> {
        let deadline = Instant::now() + STATE_DEADLINE;
        while !holds()? {
            if Instant::now() > deadline {
                let log = std::fs::read_to_string(self.directory.path().join("daemon.log")).unwrap_or_default();
                return Err(format!("waited in vain until {what}; the daemon said:\n{log}").into());
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // SIGTERM by the one program that every machine has: it drains and leaves nothing.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

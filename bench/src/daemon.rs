//! The daemon under measurement: a configuration of its own, directories that go away, and its doors.

pub(crate) mod configuration;
mod endpoint;
mod image;
mod wake;

use std::{
    fs::File,
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::net::UnixStream,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use dormouse_tests::processes;
use serde_json::Value;

pub(crate) use endpoint::EndpointSettings;
pub(crate) use image::host;
pub(crate) use wake::Wake;

use crate::{
    Bench, Failure,
    http::Connection,
    machine::said,
    models::{Answer, Model},
};

/// Longest wait for a state that must come by itself.
const STATE_DEADLINE: Duration = Duration::from_secs(60);
/// How often one looks while waiting. Far from the samples: an idle second follows.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// The metric that counts blanks which wait to be claimed.
const BLANKS_READY: &str = "dormouse_blanks_ready";
/// What limits of replicas may add up to. They are declared and not used: fifty small replicas take some 2 GiB.
const MEMORY_BUDGET: &str = "32Gi";

#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
    address: SocketAddr,
    instance: String,
    program: std::path::PathBuf,
    directory: tempfile::TempDir,
}

impl Daemon {
    /// With `configuration` beside what every measurement needs. Fails with the daemon's words if it refuses that.
    pub(crate) fn start(bench: &Bench, configuration: &[&str]) -> Result<Self, Failure> {
        // Short, as the run directory must be.
        let directory = tempfile::Builder::new().prefix("dmb").tempdir_in("/tmp")?;
        // Given back just before it is used; nobody else on a measuring machine takes it.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        std::fs::write(
            directory.path().join("dormouse.toml"),
            format!(
                "[node]\nmemory_budget = \"{MEMORY_BUDGET}\"\n[gateway]\nlisten = \"{address}\"\n[sandbox]\nonnxruntime = {:?}\n\
                 {}\n",
                bench.onnxruntime,
                configuration.concat()
            ),
        )?;
        let log = File::create(directory.path().join("daemon.log"))?;
        let mut command = Command::new(&bench.program);
        command.arg("daemon").args(options(directory.path())).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn()?;
        let mut daemon = Self { child, address, instance: String::new(), program: bench.program.clone(), directory };
        daemon.until_it_serves()?;
        Ok(daemon)
    }

    fn until_it_serves(&mut self) -> Result<(), Failure> {
        let deadline = Instant::now() + STATE_DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("the daemon ended with {status}: {}", self.last_words()).into());
            }
            if let Ok(node) = self.admin("GET", "/v1/node") {
                self.instance = node["instance"].as_str().unwrap_or_default().to_owned();
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("the daemon does not serve: {}", self.last_words()).into());
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// A command of the command line; what it prints.
    pub(crate) fn cli(&self, arguments: &[&str]) -> Result<String, Failure> {
        said(Command::new(&self.program).args(arguments).args(options(self.directory.path())))
    }

    /// Deploys a model; the endpoint is named after it where nothing else is said.
    pub(crate) fn deploy(&self, name: &str, model: &Model, settings: &EndpointSettings) -> Result<(), Failure> {
        self.deploy_manifest(name, &settings.manifest(name, model)?)
    }

    /// One manifest or several.
    pub(crate) fn deploy_manifest(&self, name: &str, manifest: &str) -> Result<(), Failure> {
        let path = self.directory.path().join(format!("{name}.yaml"));
        std::fs::write(&path, manifest)?;
        let path = path.to_str().ok_or("a path that is no text")?;
        self.cli(&["deploy", "-f", path]).map(drop).map_err(|error| format!("deploying {name}: {error}").into())
    }

    pub(crate) fn connect(&self) -> Result<Connection<TcpStream>, Failure> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        Ok(Connection::new(stream))
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// On a connection of its own, which belongs to what a first caller waits for.
    pub(crate) fn first_answer(&self, endpoint: &str, model: &Model) -> Result<(Duration, Answer), Failure> {
        let begun = Instant::now();
        let body = self.connect()?.infer(endpoint, &model.request)?;
        let took = begun.elapsed();
        Ok((took, Answer::parse(&body)?))
    }

    /// A connection to the control plane.
    pub(crate) fn admin_connection(&self) -> Result<Connection<UnixStream>, Failure> {
        Ok(Connection::new(UnixStream::connect(self.directory.path().join("run/admin.sock"))?))
    }

    pub(crate) fn admin(&self, method: &str, path: &str) -> Result<Value, Failure> {
        let body = self.admin_connection()?.ask(method, path)?;
        Ok(if body.is_empty() { Value::Null } else { serde_json::from_slice(&body)? })
    }

    /// The phases of the endpoint's replicas.
    fn phases(&self, endpoint: &str) -> Result<Vec<String>, Failure> {
        let status = self.admin("GET", &format!("/v1/endpoints/{endpoint}"))?;
        let replicas = status["replicas"].as_array().cloned().unwrap_or_default();
        let phases = replicas.iter().filter_map(|replica| replica["phase"].as_str());
        Ok(phases.filter(|phase| *phase != "exited").map(str::to_owned).collect())
    }

    /// Waits until its replicas are in exactly these phases; none is zero.
    pub(crate) fn until_phases(&self, endpoint: &str, phases: &[&str]) -> Result<(), Failure> {
        let deadline = Instant::now() + STATE_DEADLINE;
        loop {
            let now = self.phases(endpoint)?;
            if now == phases {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(
                    format!("{endpoint} stays {now:?} and does not become {phases:?}: {}", self.last_words()).into()
                );
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Waits until so many blanks can be claimed.
    pub(crate) fn until_blanks(&self, blanks: usize) -> Result<(), Failure> {
        let deadline = Instant::now() + STATE_DEADLINE;
        let line = format!("{BLANKS_READY} {blanks}");
        loop {
            let metrics = String::from_utf8(self.connect()?.ask("GET", "/metrics")?)?;
            if metrics.lines().any(|it| it == line) {
                return Ok(());
            }
            if Instant::now() > deadline {
                let told = metrics.lines().find(|it| it.starts_with(BLANKS_READY)).unwrap_or("no such metric");
                return Err(format!("the pool does not come to `{line}`: {told}").into());
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// The spawner and the node.
    pub(crate) fn halves(&self) -> Result<[i32; 2], Failure> {
        let spawner = self.child.id().cast_signed();
        Ok([spawner, processes::child(spawner, "node").ok_or("the daemon has no node process")?])
    }

    /// Everything in its control groups but its own two halves: replicas, and what they are made from.
    pub(crate) fn contained(&self) -> Result<Vec<i32>, Failure> {
        let halves = self.halves()?;
        Ok(processes::of_instance(&self.instance).into_iter().filter(|pid| !halves.contains(pid)).collect())
    }

    /// The last line that it logged.
    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(self.directory.path().join("daemon.log")).unwrap_or_default();
        log.lines().last().unwrap_or("it said nothing").to_owned()
    }
}

fn options(under: &std::path::Path) -> [std::ffi::OsString; 6] {
    let path = |name: &str| under.join(name).into_os_string();
    ["--config".into(), path("dormouse.toml"), "--data".into(), path("data"), "--run".into(), path("run")]
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It drains and leaves nothing.
        if let Some(pid) = rustix::process::Pid::from_raw(self.child.id().cast_signed()) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.child.wait();
    }
}

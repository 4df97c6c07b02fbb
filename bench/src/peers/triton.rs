//! NVIDIA Triton with its Python backend, tuned: the server that starts quickest of those that serve ONNX over HTTP.

use std::{
    fs::File,
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::end;
use crate::{
    Bench, Failure,
    http::Connection,
    models::{Answer, Model},
};

/// How long it may take until it answers.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// It tells nobody when it is ready, so it is asked this often: half of that is the error of a start's time.
const ASK_EVERY: Duration = Duration::from_millis(1);
/// The model that `config.pbtxt` is about.
pub(crate) const MODEL: &str = "tiny_mlp";

const MODEL_PY: &str = include_str!("../../peers/triton/model.py");
const CONFIG: &str = include_str!("../../peers/triton/config.pbtxt");

/// What is left out of it serves nobody here and costs it time: guessing the configuration from the model, gRPC and
/// metrics.
const TUNED: [&str; 3] = ["--disable-auto-complete-config", "--allow-grpc=false", "--allow-metrics=false"];

/// As it is installed, with a repository of one model.
#[derive(Debug)]
pub(crate) struct Triton {
    home: PathBuf,
    repository: tempfile::TempDir,
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    address: SocketAddr,
}

impl Triton {
    pub(crate) fn find(bench: &Bench, model: &Model) -> Result<Self, Failure> {
        let home = bench.setup.join("peers/triton");
        if !home.join("pytriton/tritonserver/bin/tritonserver").is_file() {
            return Err("Triton is not installed: run `make bench-peers`".into());
        }
        let repository = tempfile::tempdir()?;
        let version = repository.path().join(MODEL).join("1");
        std::fs::create_dir_all(&version)?;
        std::fs::write(repository.path().join(MODEL).join("config.pbtxt"), CONFIG)?;
        std::fs::write(version.join("model.py"), MODEL_PY)?;
        std::fs::copy(&model.path, version.join("model.onnx"))?;
        symlink(bench.setup.join("peers/python"), version.join("packages"))?;
        Ok(Self { home, repository })
    }

    /// From its execution to its first answer, with that answer.
    pub(crate) fn first_answer(&self, model: &Model) -> Result<(Duration, Answer, Server), Failure> {
        let begun = Instant::now();
        let mut server = self.launch()?;
        loop {
            // Nobody listens before its models are loaded.
            if let Ok(mut connection) = server.connect()
                && let Ok(body) = connection.infer(MODEL, &model.request)
            {
                return Ok((begun.elapsed(), Answer::parse(&body)?, server));
            }
            if let Some(status) = server.child.try_wait()? {
                return Err(format!("tritonserver ended with {status}: {}", self.last_words()).into());
            }
            if begun.elapsed() > START_DEADLINE {
                return Err(format!("tritonserver does not answer: {}", self.last_words()).into());
            }
            std::thread::sleep(ASK_EVERY);
        }
    }

    fn launch(&self) -> Result<Server, Failure> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let server = self.home.join("pytriton/tritonserver");
        let child = Command::new(server.join("bin/tritonserver"))
            .arg(format!("--model-repository={}", self.repository.path().display()))
            .arg(format!("--backend-directory={}", server.join("backends").display()))
            .args(["--http-address=127.0.0.1", &format!("--http-port={}", address.port())])
            .args(TUNED)
            // Its interpreter takes the first python3 of PATH for its home: it was built for the distribution's.
            .env_clear()
            .envs([("PATH", "/usr/bin:/bin"), ("HOME", "/nonexistent"), ("ORT_DISABLE_TELEMETRY", "1")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(self.log())?)
            .spawn()?;
        Ok(Server { child, address })
    }

    fn log(&self) -> PathBuf {
        // Beside the models it would be taken for one.
        self.repository.path().join(MODEL).join("server.log")
    }

    fn last_words(&self) -> String {
        words(&self.log())
    }
}

fn words(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let told = text.lines().rfind(|line| line.starts_with('E') || line.starts_with("error"));
    told.unwrap_or("it said nothing").to_owned()
}

impl Server {
    pub(crate) fn connect(&self) -> Result<Connection<TcpStream>, Failure> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        Ok(Connection::new(stream))
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Killed it would leave its stub running, and their shared memory.
        end(&mut self.child);
    }
}

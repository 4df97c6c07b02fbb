//! The daemon as a process of its own, and what a test holds of it.

use std::{
    fs::{self, File},
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
};

use dormouse_sandbox::cgroup::Removal;
use dormouse_spec::{Bytes, MilliCpu, MountPath};
use rustix::{
    net::{AddressFamily, SocketFlags, SocketType},
    process::{Pid, Signal, WaitOptions, kill_process, waitpid},
};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::{
    layers,
    machine::{self, until},
    node::Node,
    script,
};

/// Every machine has this user, and it owns nothing.
pub const NODE_USER: &str = "nobody";
pub const UID_BASE: u32 = 1_879_048_192;
pub const UID_COUNT: u32 = 65_536;
/// The host's id of an image's root.
pub const IMAGE_ID_BASE: u32 = UID_BASE + UID_COUNT;

/// How many blanks are kept where a test does not say.
static POOL_SIZE: AtomicU32 = AtomicU32::new(0);

/// From now on daemons are started with so many blanks, and replicas are made of them.
pub fn set_pool_size(size: u32) {
    POOL_SIZE.store(size, Ordering::Relaxed);
}

pub fn pool_size() -> u32 {
    POOL_SIZE.load(Ordering::Relaxed)
}

/// Whether replicas are forked of templates.
static FORKED: AtomicBool = AtomicBool::new(false);

/// From now on each replica that is to serve is forked of a template of its own, or no more.
pub fn set_forked(forked: bool) {
    FORKED.store(forked, Ordering::Relaxed);
}

pub fn is_forked() -> bool {
    FORKED.load(Ordering::Relaxed)
}

/// The part of the settings that tests vary.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Settings {
    /// The program that is the daemon, its node and its workers.
    pub program: PathBuf,
    /// Variables of the daemon's environment beside the test's own.
    pub environment: Vec<(String, String)>,
    pub data: PathBuf,
    pub run: PathBuf,
    pub listen: SocketAddr,
    pub node_user: String,
    pub uid_base: u32,
    pub uid_count: u32,
    pub image_id_base: u32,
    /// Directories that replicas may be given, and whether only to read.
    pub lent: Vec<(MountPath, bool)>,
    pub onnxruntime: PathBuf,
    pub drain_ms: u64,
    pub ephemeral: bool,
    pub companion: Option<Vec<String>>,
    /// As whom the daemon itself runs, where that is not root.
    pub daemon_uid: Option<u32>,
    /// What the memory limits of all replicas add up to at most.
    pub memory_budget: Bytes,
    /// How many blanks are kept.
    pub pool: u32,
    /// The soft limit of open files that it starts with, and the hard one.
    pub open_files: Option<(u64, u64)>,
}

impl Settings {
    pub fn under(home: &Path) -> Self {
        Self {
            program: std::env::current_exe().unwrap(),
            environment: Vec::new(),
            data: home.join("data"),
            run: home.join("run"),
            listen: "127.0.0.1:0".parse().unwrap(),
            node_user: NODE_USER.to_owned(),
            uid_base: UID_BASE,
            uid_count: UID_COUNT,
            image_id_base: IMAGE_ID_BASE,
            lent: Vec::new(),
            onnxruntime: onnxruntime(),
            drain_ms: 60_000,
            ephemeral: true,
            companion: None,
            daemon_uid: None,
            memory_budget: Bytes::from_mebibytes(1 << 20),
            pool: pool_size(),
            open_files: None,
        }
    }

    /// Takes the settings from the command line, and the limits and the user that they ask for.
    pub fn become_daemon(arguments: &[String]) -> Self {
        let settings: Self = serde_json::from_str(&arguments[1]).unwrap();
        if let Some((current, maximum)) = settings.open_files {
            let limit = rustix::process::Rlimit { current: Some(current), maximum: Some(maximum) };
            rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
        }
        if let Some(uid) = settings.daemon_uid {
            nix::unistd::setuid(uid.into()).unwrap();
        }
        settings
    }
}

fn onnxruntime() -> PathBuf {
    let fetched = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/setup/onnxruntime/libonnxruntime.so");
    std::env::var_os("DORMOUSE_ONNXRUNTIME").map_or_else(|| PathBuf::from(fetched), PathBuf::from)
}

/// What this machine lacks to run the tests, in one line.
pub fn missing() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("containers and control groups need root".to_owned());
    }
    let library = onnxruntime();
    (!library.is_file()).then(|| {
        format!(
            "no ONNX Runtime at {}: run `make setup`, or set DORMOUSE_ONNXRUNTIME to a libonnxruntime.so",
            library.display()
        )
    })
}

/// The daemon half of a program: runs the spawner of a sandbox crate and prints why it could not, in
/// one line. The crate is named, since there is more than one build of it.
#[macro_export]
macro_rules! run_daemon {
    ($sandbox:ident, $arguments:expr) => {{
        let settings = $crate::daemon::Settings::become_daemon($arguments);
        $crate::daemon::tell($sandbox::spawner::run($sandbox::spawner::SpawnerSettings {
            data: settings.data,
            run: settings.run,
            listen: settings.listen,
            node_user: settings.node_user,
            admin_group: "root".to_owned(),
            uid_base: settings.uid_base,
            uid_count: settings.uid_count,
            image_id_base: settings.image_id_base,
            lent: settings
                .lent
                .into_iter()
                .map(|(path, read_only)| $sandbox::spawner::LentPath { path, read_only })
                .collect(),
            onnxruntime: settings.onnxruntime,
            node_settings: $crate::daemon::NODE_SETTINGS.to_owned(),
            policy: $sandbox::spawner::ReplicaPolicy {
                memory: settings.memory_budget,
                cpu: $crate::daemon::REPLICA_CPU,
                pids: 64,
                concurrency: 8,
                body_bytes_max: 1 << 20,
                layer_bytes_max: $crate::layers::LAYER_BYTES_MAX,
            },
            pool: $sandbox::spawner::PoolSettings {
                size: settings.pool,
                memory: $crate::daemon::BLANK_MEMORY,
                tmp: $crate::script::LIMITS.tmp,
            },
            drain_deadline: std::time::Duration::from_millis(settings.drain_ms),
            ephemeral: settings.ephemeral,
            companion: settings.companion.map(|arguments| arguments.into_iter().map(Into::into).collect()),
        }))
    }};
}

/// What one replica may have at most.
pub const REPLICA_CPU: MilliCpu = MilliCpu::from_milli(1_000);

/// What a blank may have.
pub const BLANK_MEMORY: Bytes = Bytes::from_mebibytes(32);

/// What the node is handed unread.
pub const NODE_SETTINGS: &str = "as the composition root wrote them";

/// The end of the daemon half.
pub fn tell<E: std::error::Error>(result: Result<(), E>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    let mut line = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        line = format!("{line}: {error}");
        cause = error.source();
    }
    eprintln!("{line}");
    ExitCode::FAILURE
}

/// A running daemon. Where a test fails, dropping it ends and removes all of it.
#[derive(Debug)]
pub struct Daemon {
    pub settings: Settings,
    pid: Pid,
    /// Its standard output, and that of every node it starts: how nodes reach the driver.
    nodes: OwnedFd,
    stderr: PathBuf,
    /// Known from the first welcome on.
    instance: Option<String>,
    is_over: bool,
    _home: Option<TempDir>,
}

impl Daemon {
    /// A daemon with a store of one model in a directory of its own.
    pub fn start() -> Self {
        Self::start_with(|_| {})
    }

    pub fn start_with(change: impl FnOnce(&mut Settings)) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut settings = Settings::under(home.path());
        script::store_model(&settings.data);
        change(&mut settings);
        let mut daemon = Self::launch(settings);
        daemon._home = Some(home);
        daemon
    }

    /// Starts a daemon in directories that somebody else removes.
    #[expect(clippy::zombie_processes, reason = "it is waited for by its pid")]
    pub fn launch(settings: Settings) -> Self {
        let (ours, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        let stderr = settings.data.with_extension("stderr");
        let log = File::options().create(true).append(true).open(&stderr).unwrap();
        let child = Command::new(&settings.program)
            .args(["daemon", &serde_json::to_string(&settings).unwrap()])
            .envs(settings.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(theirs)
            .stderr(log)
            .spawn()
            .unwrap();
        let pid = Pid::from_raw(child.id().cast_signed()).unwrap();
        Self { settings, pid, nodes: ours, stderr, instance: None, is_over: false, _home: None }
    }

    pub fn pid(&self) -> i32 {
        self.pid.as_raw_pid()
    }

    /// The next node process that this daemon starts, before it has said anything.
    pub fn next_node(&self) -> Node {
        until("a node process is started", || {
            if self.has_ended().is_some() {
                panic!("the daemon ended: {}", self.stderr());
            }
            machine::is_readable(self.nodes.as_fd())
        });
        Node::receive(&self.nodes)
    }

    /// The next node process, greeted and told all there is.
    pub fn node(&mut self) -> Node {
        let mut node = self.next_node();
        node.greet(&self.settings.run);
        layers::make_store(&self.settings.data);
        self.instance = Some(node.instance().to_owned());
        node
    }

    /// The name of its control groups.
    pub fn group(&self) -> String {
        format!("dormouse-{}", self.instance.as_ref().expect("a node was greeted"))
    }

    /// What it and its nodes printed on standard error.
    pub fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).unwrap();
    }

    fn has_ended(&self) -> Option<rustix::process::WaitStatus> {
        waitpid(Some(self.pid), WaitOptions::NOHANG).unwrap().map(|(_, status)| status)
    }

    /// Its exit status.
    pub fn wait(&mut self) -> i32 {
        let mut status = None;
        until("the daemon ends", || {
            status = self.has_ended();
            status.is_some()
        });
        self.is_over = true;
        status.and_then(rustix::process::WaitStatus::exit_status).expect("the daemon ends by itself")
    }

    /// As whatever else may happen to it.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        until("the daemon is killed", || self.has_ended().is_some());
        self.is_over = true;
    }

    /// SIGTERM, with a node that has nothing to finish. Nothing may be left then.
    pub fn end(mut self, mut node: Node) {
        self.signal(Signal::TERM);
        node.drain();
        assert_eq!(self.wait(), 0, "{}", self.stderr());
        self.assert_nothing_left();
    }

    pub fn assert_nothing_left(&self) {
        assert_eq!(machine::groups(&self.group()), [] as [PathBuf; 0]);
        assert!(!self.settings.run.join("sockets").exists() || !self.settings.ephemeral);
        assert_eq!(self.settings.run.exists(), !self.settings.ephemeral, "the run directory");
        machine::assert_no_process_left();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if !self.is_over && self.has_ended().is_none() {
            self.kill();
        }
        if let Some(instance) = &self.instance {
            remove_groups(&format!("dormouse-{instance}"));
        }
    }
}

/// Ends what a failed test left.
fn remove_groups(name: &str) {
    let hierarchy = machine::hierarchy();
    let leftovers = hierarchy.leftovers(name).unwrap();
    if leftovers.is_empty() {
        return;
    }
    let instance = hierarchy.instance(name).unwrap();
    for leftover in leftovers {
        let group = instance.open(&leftover).unwrap();
        group.kill().unwrap();
        until("a group is removed", || group.remove().unwrap() == Removal::Removed);
    }
    instance.remove().unwrap();
}

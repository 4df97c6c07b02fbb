//! A running daemon.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command},
    sync::Arc,
};

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    Connection, Endpoint, Home, Request, Response, Round, Told, cli,
    metrics::Metrics,
    processes,
    wait::{until, until_true},
};

/// Ends the daemon when it is dropped, and sees that nothing of it is left.
#[derive(Debug)]
pub struct Daemon {
    home: Arc<Home>,
    child: Child,
    address: SocketAddr,
    instance: String,
    first_node: i32,
    ended: bool,
}

impl Daemon {
    pub(crate) fn start(home: Arc<Home>) -> Self {
        let mut child = home.daemon_command().spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let (first_node, node) = until("the daemon serves", || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("the daemon ended with {status}:\n{}", log(&home));
            }
            // An earlier daemon's node may answer yet, until it notices that its spawner is gone or the
            // new one ends it; the new one starts its own after that.
            processes::child(pid, "node").and_then(|process| Some((process, node_status(&home)?)))
        });
        let address = node["listen"].as_str().and_then(|address| address.parse().ok()).expect("an address");
        let instance = node["instance"].as_str().expect("an id").to_owned();
        let daemon = Self { home, child, address, instance, first_node, ended: false };
        daemon.prepare_round();
        daemon
    }

    #[must_use]
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// For threads that go on while this daemon ends and another one starts in its place.
    #[must_use]
    pub fn home_shared(&self) -> Arc<Home> {
        Arc::clone(&self.home)
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    #[must_use]
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// The daemon's own output so far.
    #[must_use]
    pub fn log(&self) -> String {
        log(&self.home)
    }

    /// A command of the command line that talks to this daemon.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.home.command(arguments)
    }

    #[must_use]
    pub fn cli(&self, arguments: &[&str]) -> Told {
        cli::run(&mut self.command(arguments))
    }

    /// What `status --json` tells.
    #[must_use]
    pub fn status(&self, endpoint: &str) -> Value {
        self.cli(&["status", endpoint, "--json"]).json()
    }

    /// What the admin API answers; the quickest way to look again and again.
    #[must_use]
    pub fn admin(&self, path: &str) -> Response {
        let mut connection = Connection::to_socket(&self.home.run().join("admin.sock")).expect("an admin socket");
        connection.send(&Request::get(path))
    }

    /// Deploys a model file or directory under a name.
    pub fn deploy(&self, name: &str, model: &Path) -> Endpoint<'_> {
        assert_ne!(self.home.round(), Some(Round::Image), "a model is no image");
        let model = model.to_str().expect("a path in UTF-8");
        let _ = self.cli(&["deploy", model, "--name", name]).ok();
        self.prepare_round();
        Endpoint::of(self, name)
    }

    /// Deploys a model with settings: keys of `dormouse.dev/` annotations.
    pub fn deploy_with(&self, name: &str, model: &Path, settings: &[(&str, &str)]) -> Endpoint<'_> {
        assert_ne!(self.home.round(), Some(Round::Image), "a model is no image");
        let manifest = self.home.write(&format!("{name}.yaml"), manifest(name, model, settings));
        let _ = self.cli(&["deploy", "-f", manifest.to_str().unwrap()]).ok();
        self.prepare_round();
        Endpoint::of(self, name)
    }

    pub(crate) fn prepare_round(&self) {
        if let Some(round) = self.home.round() {
            round.prepare(self);
        }
    }

    /// Sends one request on a connection of its own.
    #[track_caller]
    #[must_use]
    pub fn send(&self, request: &Request) -> Response {
        Connection::to(self.address).send(request)
    }

    #[track_caller]
    #[must_use]
    pub fn get(&self, path: &str) -> Response {
        self.send(&Request::get(path))
    }

    #[must_use]
    pub fn metrics(&self) -> Metrics {
        Metrics::of(self.get("/metrics").ok().text())
    }

    #[must_use]
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// The node process.
    #[must_use]
    pub fn node_pid(&self) -> i32 {
        until("there is a node process", || processes::child(self.pid(), "node"))
    }

    /// Whether the gateway takes connections.
    #[must_use]
    pub fn listens(&self) -> bool {
        TcpStream::connect(self.address).is_ok()
    }

    /// SIGTERM; the daemon drains and ends with 0, leaving nothing.
    ///
    /// # Panics
    /// Where it does not.
    pub fn stop(mut self) -> Arc<Home> {
        self.end();
        self.assert_nothing_left();
        Arc::clone(&self.home)
    }

    /// Ends the daemon and starts it again in the same place.
    #[must_use]
    pub fn restart(self) -> Self {
        Self::start(self.stop())
    }

    /// SIGKILL: nothing is cleaned up. Its node answers until it has noticed, which is waited for.
    ///
    /// # Panics
    /// Where the node does not end.
    pub fn kill(mut self) -> Arc<Home> {
        let node = processes::child(self.pid(), "node");
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.ended = true;
        until_true("its node ends", || node.is_none_or(|node| !processes::lives(node)));
        Arc::clone(&self.home)
    }

    /// Waits until a daemon that was told to end has ended, leaving nothing.
    ///
    /// # Panics
    /// Where it fails.
    pub fn until_ended(mut self) {
        self.ended = true;
        self.wait();
        self.assert_nothing_left();
    }

    fn end(&mut self) {
        self.ended = true;
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("the daemon had ended with {status}:\n{}", self.log());
        }
        if let Some(round) = self.home.round() {
            round.prove(self, self.first_node);
        }
        processes::kill(self.pid(), Signal::TERM);
        self.wait();
    }

    fn wait(&mut self) {
        let status = until("the daemon ends", || self.child.try_wait().unwrap());
        assert!(status.success(), "the daemon ended with {status}:\n{}", self.log());
    }

    fn assert_nothing_left(&self) {
        let groups = processes::control_groups(&self.instance);
        assert!(groups.is_empty(), "left behind: {groups:?}\n{}", self.log());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        if std::thread::panicking() {
            eprintln!("--- the daemon's log\n{}---", self.log());
            processes::kill(self.pid(), Signal::TERM);
            // A second one skips the draining.
            processes::kill(self.pid(), Signal::TERM);
            let _ = self.child.wait();
            return;
        }
        self.end();
        self.assert_nothing_left();
    }
}

impl Home {
    /// Starts a daemon where another one was.
    #[must_use]
    pub fn start_again(self: Arc<Self>) -> Daemon {
        Daemon::start(self)
    }
}

fn node_status(home: &Home) -> Option<Value> {
    let mut connection = Connection::to_socket(&home.run().join("admin.sock")).ok()?;
    connection.try_send(&Request::get("/v1/node")).ok().filter(|answer| answer.status == 200).map(|it| it.json())
}

fn log(home: &Home) -> String {
    fs::read_to_string(home.log()).unwrap_or_default()
}

/// An InferenceService of a model of this machine.
#[must_use]
pub fn manifest(name: &str, model: &Path, settings: &[(&str, &str)]) -> String {
    let annotations: String =
        settings.iter().map(|(key, value)| format!("    dormouse.dev/{key}: {value:?}\n")).collect();
    let annotations = if annotations.is_empty() { String::new() } else { format!("  annotations:\n{annotations}") };
    format!(
        "apiVersion: serving.kserve.io/v1beta1\nkind: InferenceService\nmetadata:\n  name: {name}\n{annotations}spec:\n  \
         predictor:\n    model:\n      modelFormat:\n        name: onnx\n      protocolVersion: v2\n      \
         storageUri: file://{}\n",
        model.display()
    )
}

//! One endpoint of a running daemon.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::{
    Connection, Daemon, Request, Response, Round, Script, processes, scripted,
    wait::{until, until_true},
};

#[derive(Debug, Clone)]
pub struct Endpoint<'a> {
    pub daemon: &'a Daemon,
    pub name: String,
}

/// A replica as the admin API shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    pub id: String,
    pub phase: String,
    pub revision: u64,
    pub leases: u64,
    pub started_at_ms: u64,
    pub control_group: String,
}

impl<'a> Endpoint<'a> {
    #[must_use]
    pub fn of(daemon: &'a Daemon, name: &str) -> Self {
        Self { daemon, name: name.to_owned() }
    }

    #[must_use]
    pub fn status(&self) -> Value {
        self.daemon.admin(&format!("/v1/endpoints/{}", self.name)).ok().json()
    }

    /// The replicas that are there, those that ended excepted.
    #[must_use]
    pub fn replicas(&self) -> Vec<Replica> {
        let status = self.status();
        let number = |replica: &Value, key: &str| replica[key].as_u64().unwrap_or_default();
        let text = |replica: &Value, key: &str| replica[key].as_str().unwrap_or_default().to_owned();
        let of = |replica: &Value| Replica {
            id: text(replica, "id"),
            phase: text(replica, "phase"),
            revision: number(replica, "revision"),
            leases: number(replica, "leases"),
            started_at_ms: number(replica, "started_at_ms"),
            control_group: text(replica, "control_group"),
        };
        status["replicas"].as_array().expect("replicas").iter().map(of).collect()
    }

    #[must_use]
    pub fn phases(&self) -> Vec<String> {
        self.replicas().into_iter().map(|replica| replica.phase).collect()
    }

    pub fn until_phases(&self, phases: &[&str]) {
        until_true(format!("{} is {phases:?}, now {:?}", self.name, self.phases()), || self.phases() == phases);
    }

    pub fn until_waiters(&self, waiters: u64) {
        until_true(format!("{waiters} requests wait"), || self.status()["waiters"] == waiters);
    }

    pub fn until_leases(&self, leases: u64) {
        until_true(format!("{leases} requests run"), || {
            self.replicas().iter().map(|replica| replica.leases).sum::<u64>() == leases
        });
    }

    /// Processes of all of its replicas; not those of templates, as long as those are known to be any. Of a
    /// replica that only a deploy asks, and of what a deleted endpoint leaves, those in groups of its name.
    #[must_use]
    pub fn processes(&self) -> Vec<i32> {
        self.of_replicas(processes::of_group)
    }

    /// The same with what makes their containers.
    #[must_use]
    pub fn processes_and_makers(&self) -> Vec<i32> {
        self.of_replicas(processes::with_makers_of_group)
    }

    fn of_replicas(&self, of_group: fn(&str, &str) -> BTreeSet<i32>) -> Vec<i32> {
        let [replicas, templates] = self.control_groups();
        let mut groups = self.control_groups_of_its_name();
        groups.extend(replicas);
        groups.difference(&templates).flat_map(|group| of_group(self.daemon.instance(), group)).collect()
    }

    /// The ids of its replicas that something is left of, as their sockets tell: whichever way a worker came to be,
    /// and also of one that only a deploy asks. Processes of images have none.
    #[must_use]
    pub fn replicas_with_sockets(&self) -> BTreeSet<String> {
        let entries = fs::read_dir(self.daemon.home().run().join("sockets")).into_iter().flatten();
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names.filter_map(|name| Some(name.strip_suffix(".sock")?.to_owned())).filter(|id| self.is_id(id)).collect()
    }

    /// Whether there is a replica of it, be it one that only its deploy asks.
    #[must_use]
    pub fn is_tried(&self) -> bool {
        match self.daemon.home().round() {
            Some(Round::Image) => !self.control_groups_of_its_name().is_empty(),
            _ => !self.replicas_with_sockets().is_empty(),
        }
    }

    /// Processes of its templates alone.
    #[must_use]
    pub fn template_processes(&self) -> Vec<i32> {
        let [_, templates] = self.control_groups();
        templates.iter().flat_map(|group| processes::of_group(self.daemon.instance(), group)).collect()
    }

    /// Of its replicas and of its templates, as it tells them; none where there is no such endpoint.
    fn control_groups(&self) -> [BTreeSet<String>; 2] {
        let path = format!("/v1/endpoints/{}", self.name);
        let socket = self.daemon.home().run().join("admin.sock");
        // A node process that has just died takes the connection along.
        let answer = until("a node process answers", || {
            Connection::to_socket(&socket).ok()?.try_send(&Request::get(&path)).ok()
        });
        let status = if answer.status == 404 { Value::Null } else { answer.ok().json() };
        ["replicas", "templates"].map(|list| {
            let listed = status[list].as_array().into_iter().flatten();
            listed.filter_map(|it| it["control_group"].as_str().map(str::to_owned)).collect()
        })
    }

    /// Those named after a replica or a template of it: its own name and two numbers.
    fn control_groups_of_its_name(&self) -> BTreeSet<String> {
        let groups = processes::control_groups(self.daemon.instance());
        let names = groups.iter().filter_map(|group| group.file_name()?.to_str());
        names.filter(|name| self.is_id(name)).map(str::to_owned).collect()
    }

    fn is_id(&self, name: &str) -> bool {
        let is_number = |text: &str| text.parse::<u64>().is_ok();
        let numbers = name.strip_prefix(&*self.name).and_then(|rest| rest.strip_prefix('-')?.split_once('-'));
        numbers.is_some_and(|(revision, serial)| is_number(revision) && is_number(serial))
    }

    /// The path of an operation on it.
    #[must_use]
    pub fn path(&self, operation: &str) -> String {
        format!("/v2/models/{}{operation}", self.name)
    }

    /// A request that a fake replica echoes.
    #[must_use]
    pub fn echo_request(&self, data: i64) -> Request {
        Request::infer(&self.name, &echo_body(data))
    }

    #[track_caller]
    #[must_use]
    pub fn infer(&self, body: &Value) -> Response {
        self.daemon.send(&Request::infer(&self.name, body))
    }

    /// Calls it once and sees that the answer is to this request.
    #[track_caller]
    pub fn check_echo(&self, data: i64) {
        let answer = self.infer(&echo_body(data)).ok().json();
        assert_eq!(answer["outputs"][0]["data"], json!([data]), "{answer}");
    }

    /// Gives its replicas, those that run too, another script. It stays the same revision.
    ///
    /// # Panics
    /// Where no model of it is stored.
    pub fn play(&self, script: Script) {
        replace(&self.script_directory(), &script.salt(&self.name));
    }

    /// Where its replicas find their script.
    #[must_use]
    pub fn script_directory(&self) -> PathBuf {
        let home = self.daemon.home();
        if home.round() == Some(Round::Image) {
            return scripted::directory(home, &self.name);
        }
        let digest = self.status()["model"].as_str().expect("a model").replace(':', "-");
        home.data().join("models").join(digest)
    }

    /// Removes it; nothing of it is left then.
    pub fn delete(&self) {
        let _ = self.daemon.cli(&["delete", &self.name]).ok();
    }
}

/// Gives a stored model another script. Whoever reads it meanwhile reads it again: see [`Script`].
///
/// # Panics
/// Where there is no such directory.
pub fn replace(directory: &Path, script: &Script) {
    let model = script.to_model();
    let mut file = File::options().write(true).open(directory.join("model.onnx")).unwrap();
    file.write_all(&model).unwrap();
    file.set_len(model.len() as u64).unwrap();
}

/// What a fake replica echoes.
#[must_use]
pub fn echo_body(data: i64) -> Value {
    json!({ "inputs": [{ "name": "x", "datatype": "INT64", "shape": [1], "data": [data] }] })
}

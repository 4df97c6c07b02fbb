//! One endpoint of a running daemon.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use serde_json::{Value, json};

use crate::{Daemon, Request, Response, Script, processes, wait::until_true};

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
        let of = |replica: &Value| Replica {
            id: replica["id"].as_str().unwrap_or_default().to_owned(),
            phase: replica["phase"].as_str().unwrap_or_default().to_owned(),
            revision: number(replica, "revision"),
            leases: number(replica, "leases"),
            started_at_ms: number(replica, "started_at_ms"),
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

    /// Processes of all of its replicas.
    #[must_use]
    pub fn processes(&self) -> Vec<i32> {
        let groups = processes::control_groups(self.daemon.instance());
        let prefix = format!("{}-", self.name);
        let mine = |path: &&std::path::PathBuf| {
            path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(&prefix))
        };
        let names = groups.iter().filter(mine).filter_map(|path| path.file_name()?.to_str());
        let ids: std::collections::BTreeSet<&str> = names.collect();
        ids.into_iter().flat_map(|id| processes::of_replica(self.daemon.instance(), id)).collect()
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
        let digest = self.status()["model"].as_str().expect("a model").replace(':', "-");
        let directory = self.daemon.home().data().join("models").join(digest);
        replace(&directory, &script.salt(&self.name));
    }

    /// Removes it; nothing of it is left then.
    pub fn delete(&self) {
        let _ = self.daemon.cli(&["delete", &self.name]).ok();
    }
}

/// Gives a stored model another script, in one step.
///
/// # Panics
/// Where there is no such directory.
pub fn replace(directory: &Path, script: &Script) {
    let next = directory.join("next");
    fs::write(&next, script.to_model()).unwrap();
    fs::set_permissions(&next, fs::Permissions::from_mode(0o444)).unwrap();
    fs::rename(&next, directory.join("model.onnx")).unwrap();
}

/// What a fake replica echoes.
#[must_use]
pub fn echo_body(data: i64) -> Value {
    json!({ "inputs": [{ "name": "x", "datatype": "INT64", "shape": [1], "data": [data] }] })
}

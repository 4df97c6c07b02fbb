//! A real registry: Debian's docker-registry on loopback.

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use serde_json::json;
use tempfile::TempDir;

use crate::{Connection, Request, oci_image::Layout, paths, skopeo, wait::until};

/// Of the one user that a private registry knows.
pub const USER: &str = "dormouse";
pub const PASSWORD: &str = "winter";
/// The same for `Authorization: Basic` and for `auth` in a docker `config.json`.
pub const BASIC: &str = "ZG9ybW91c2U6d2ludGVy";
/// bcrypt of [`PASSWORD`], as `htpasswd -B` writes it.
const PASSWORD_HASH: &str = "$2b$05$Dormouse.Dormouse.DoreMK4U1NRDj/VKncgcwk7Y7DgsxrpJ7AK";
/// How the registry tells where it listens.
const LISTENS: &str = "listening on ";

/// Ends with this value, and with the thread that started it.
#[derive(Debug)]
pub struct Registry {
    child: Child,
    address: SocketAddr,
    access: Access,
    directory: TempDir,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Anyone,
    /// Who knows [`PASSWORD`].
    Password,
}

impl Registry {
    /// One that anyone may use.
    #[must_use]
    pub fn start() -> Self {
        Self::with(Access::Anyone)
    }

    /// One for [`USER`] alone.
    #[must_use]
    pub fn private() -> Self {
        Self::with(Access::Password)
    }

    fn with(access: Access) -> Self {
        let directory = tempfile::Builder::new().prefix("dmr").tempdir_in("/tmp").unwrap();
        let path = |name: &str| directory.path().join(name);
        let mut configuration = json!({
            "version": "0.1",
            "log": { "level": "info" },
            "storage": { "filesystem": { "rootdirectory": path("data") }, "delete": { "enabled": true } },
            // It asks for a port and tells which it got.
            "http": { "addr": "127.0.0.1:0", "secret": "of one process" },
        });
        if access == Access::Password {
            fs::write(path("htpasswd"), format!("{USER}:{PASSWORD_HASH}\n")).unwrap();
            configuration["auth"]["htpasswd"] = json!({ "realm": "tests", "path": path("htpasswd") });
        }
        // JSON is YAML.
        fs::write(path("config.yml"), configuration.to_string()).unwrap();
        let log = fs::File::create(path("registry.log")).unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(paths::setup("registry/docker-registry"));
        command.arg("serve").arg(path("config.yml")).env("OTEL_TRACES_EXPORTER", "none");
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let child = command.spawn().unwrap();
        let mut registry = Self { child, address: SocketAddr::from(([127, 0, 0, 1], 0)), access, directory };
        registry.until_it_serves();
        registry
    }

    fn until_it_serves(&mut self) {
        self.address = until("the registry listens", || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the registry ended with {status}:\n{}", self.log());
            }
            let log = self.log();
            let told = log.split(LISTENS).nth(1)?.split(['"', ' ', '\n']).next()?;
            told.parse().ok()
        });
        let expected = if self.access == Access::Anyone { 200 } else { 401 };
        let answer = Connection::to(self.address).send(&Request::get("/v2/"));
        assert_eq!(answer.status, expected, "{}", self.log());
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// An image of it as a client names it: `127.0.0.1:PORT/name`.
    #[must_use]
    pub fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    /// Puts the image that a layout knows by the tag of `name`, such as `team/app:latest`, under that name.
    ///
    /// # Panics
    /// Where that fails.
    #[track_caller]
    pub fn push(&self, layout: &Layout, name: &str) {
        let (_, tag) = name.rsplit_once(':').expect("a name and a tag");
        self.copy_in(&layout.reference(tag), name);
    }

    /// Puts an image that skopeo finds anywhere under this name, without changing a byte of it.
    ///
    /// # Panics
    /// Where that fails.
    #[track_caller]
    pub fn copy_in(&self, from: &str, name: &str) {
        let credentials = format!("--dest-creds={USER}:{PASSWORD}");
        let options: &[&str] = match self.access {
            Access::Anyone => &["--preserve-digests"],
            Access::Password => &["--preserve-digests", &credentials],
        };
        skopeo::copy(from, &format!("docker://{}", self.reference(name)), options);
    }

    /// What it was asked so far, as `GET /v2/app/manifests/latest`, in the order of its answers.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        let log = self.log();
        let asked = log.lines().filter_map(|line| line.split('"').nth(1)?.strip_suffix(" HTTP/1.1"));
        asked.map(str::to_owned).collect()
    }

    /// Blobs that it was asked for so far.
    #[must_use]
    pub fn blobs_read(&self) -> usize {
        self.requests().iter().filter(|asked| asked.starts_with("GET ") && asked.contains("/blobs/")).count()
    }

    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("registry.log")).unwrap_or_default()
    }

    /// Where it keeps what was pushed.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the registry's log\n{}---", self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests;

//! containerd with its own client: what a node has running before its first container, and containers of an image.

mod image;

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

pub(crate) use self::image::ContainerdImage;
use super::{installed, version};
use crate::Failure;

const START_DEADLINE: Duration = Duration::from_secs(30);
const SOCKET: &str = "containerd.sock";
const LOOK_EVERY: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(crate) struct Containerd {
    child: Child,
    version: String,
    directory: tempfile::TempDir,
}

impl Containerd {
    /// In directories of its own, beside one that the machine may have.
    pub(crate) fn start() -> Result<Self, Failure> {
        let program = installed("containerd")?;
        let directory = tempfile::tempdir()?;
        let path = |name: &str| directory.path().join(name);
        let configuration = path("config.toml");
        // The interface for Kubernetes would configure networks, and no node without Kubernetes needs it.
        let plugins = "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n";
        std::fs::write(&configuration, format!("{plugins}[debug]\naddress = {:?}\n", path("debug.sock")))?;
        let socket = path(SOCKET);
        let child = Command::new(&program)
            .arg("--config")
            .arg(&configuration)
            .arg("--root")
            .arg(path("root"))
            .arg("--state")
            .arg(path("state"))
            .arg("--address")
            .arg(&socket)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut containerd = Self { child, version: short(&version(&program)), directory };
        containerd.until_it_listens(&socket)?;
        Ok(containerd)
    }

    fn until_it_listens(&mut self, socket: &Path) -> Result<(), Failure> {
        let deadline = Instant::now() + START_DEADLINE;
        while std::os::unix::net::UnixStream::connect(socket).is_err() {
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("containerd ended with {status}").into());
            }
            if Instant::now() > deadline {
                return Err("containerd does not listen".into());
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn socket(&self) -> PathBuf {
        self.path(SOCKET)
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    pub(crate) fn version(&self) -> &str {
        &self.version
    }
}

/// Of `containerd github.com/containerd/containerd 1.6.20 …`.
fn short(version: &str) -> String {
    format!("containerd {}", version.split_whitespace().nth(2).unwrap_or("of unknown version"))
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

//! An image in containerd's store, run by its own client: `ctr run`, on the machine's network, as the shortest way to
//! the image's port.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use super::Containerd;
use crate::{
    Failure,
    machine::said,
    peers::{
        first_answer::{first_answer, free_address},
        installed,
    },
};

/// What the archive's images are called before their tag.
const BASE_NAME: &str = "example.org/web";
const IMAGE: &str = "example.org/web:latest";
/// The second copies every file of the image for each container; it is for file systems that overlayfs cannot be on.
const SNAPSHOTTERS: [&str; 2] = ["overlayfs", "native"];

#[derive(Debug)]
pub(crate) struct ContainerdImage {
    containerd: Containerd,
    ctr: PathBuf,
    snapshotter: &'static str,
    page: &'static [u8],
    runs: u32,
}

impl ContainerdImage {
    /// An archive of an image `latest`, which listens where `$PORT` says and shows this page there.
    pub(crate) fn find(archive: &Path, page: &'static [u8]) -> Result<Self, Failure> {
        let ctr = installed("ctr")?;
        let mut found = Self { containerd: Containerd::start()?, ctr, snapshotter: "", page, runs: 0 };
        let mut failed = String::new();
        for snapshotter in SNAPSHOTTERS {
            let mut import = found.ctr();
            import.args(["images", "import", "--snapshotter", snapshotter, "--base-name", BASE_NAME]).arg(archive);
            match said(&mut import) {
                Ok(_) => {
                    found.snapshotter = snapshotter;
                    return Ok(found);
                }
                Err(error) => failed = error.to_string(),
            }
        }
        Err(failed.into())
    }

    /// Also how the image's files were brought into the container.
    pub(crate) fn version(&self) -> String {
        format!("{} and ctr, {}", self.containerd.version(), self.snapshotter)
    }

    /// From the execution of `ctr run` to the first page; the container is gone when this returns.
    pub(crate) fn first_page(&mut self) -> Result<Duration, Failure> {
        self.runs += 1;
        let name = format!("dormouse-bench-image-{}-{}", std::process::id(), self.runs);
        let address = free_address()?;
        let mut run = self.ctr();
        run.args(["run", "--detach", "--null-io", "--net-host", "--snapshotter", self.snapshotter]);
        // Else it would be in a group of the namespace's, which stays.
        run.args(["--cgroup", &format!("/{name}"), "--env", &format!("PORT={address}"), IMAGE, &name]);
        let answered = first_answer(&mut run, &self.containerd.path("words"), address, self.page);
        let removed = self.remove(&name);
        let took = answered?;
        removed?;
        Ok(took)
    }

    fn remove(&self, name: &str) -> Result<(), Failure> {
        let ended = said(self.ctr().args(["tasks", "rm", "--force", name]));
        said(self.ctr().args(["containers", "rm", name]))?;
        ended.map(drop)
    }

    fn ctr(&self) -> Command {
        let mut command = Command::new(&self.ctr);
        command.arg("--address").arg(self.containerd.socket()).args(["--namespace", "dormouse-bench"]);
        command
    }
}

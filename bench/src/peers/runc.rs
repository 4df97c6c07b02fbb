//! runc with a bundle that is, as far as OCI can say it, the one that our replicas are made from: the same
//! namespaces, ids, mounts, limits and system calls, and the same payload.

mod bundle;
mod image;

use std::{
    io::Read,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

pub(crate) use self::image::RuncImage;
use super::{installed, version};
use crate::{Bench, Failure, machine::said};

#[derive(Debug)]
pub(crate) struct Runc {
    program: PathBuf,
    directory: tempfile::TempDir,
    runs: u32,
}

impl Runc {
    /// With a root directory in which `payload` finds its libraries.
    pub(crate) fn find(bench: &Bench, payload: &Path) -> Result<Self, Failure> {
        let program = installed("runc")?;
        // Its container's root is nobody outside and has to reach it.
        let directory = tempfile::Builder::new().permissions(readable()).tempdir()?;
        bundle::write(directory.path(), payload, &bench.workspace.join("configs/seccomp/worker.json"))?;
        Ok(Self { program, directory, runs: 0 })
    }

    pub(crate) fn version(&self) -> String {
        version(&self.program)
    }

    /// From the execution of `runc run` to the payload's first word; the container is gone when this returns.
    pub(crate) fn first_word(&mut self) -> Result<Duration, Failure> {
        self.runs += 1;
        let name = format!("dormouse-bench-{}-{}", std::process::id(), self.runs);
        let (mut ours, theirs) = UnixStream::pair()?;
        let log = self.directory.path().join("runc.log");
        let mut command = Command::new(&self.program);
        command.arg("--log").arg(&log).arg("--root").arg(self.directory.path().join("state"));
        // Otherwise it stays and copies what the payload says from pipe to pipe.
        command.args(["run", "--detach", "--bundle"]).arg(self.directory.path()).arg(&name);
        // What the payload prints, or runc before it has a log.
        let words = self.directory.path().join("words");
        command.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::null()).stderr(std::fs::File::create(&words)?);
        let begun = Instant::now();
        let mut child = command.spawn()?;
        // The command keeps a copy of the payload's end; without it the end of a payload that says nothing is seen.
        drop(command);
        let mut word = [0];
        let heard = ours.read_exact(&mut word);
        let took = begun.elapsed();
        let status = child.wait()?;
        drop(ours);
        self.delete(&name)?;
        if heard.is_ok() && word == *b"B" && status.success() {
            return Ok(took);
        }
        let told = [&log, &words].map(|path| std::fs::read_to_string(path).unwrap_or_default()).concat();
        Err(format!("runc ended with {status}: {}", told.trim().replace('\n', "; ")).into())
    }

    /// Running or not, created or not.
    fn delete(&self, name: &str) -> Result<(), Failure> {
        let mut delete = Command::new(&self.program);
        delete.arg("--root").arg(self.directory.path().join("state")).args(["delete", "--force", name]);
        said(&mut delete).map(drop)
    }
}

fn readable() -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o755)
}

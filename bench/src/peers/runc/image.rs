//! An image's root directory in a bundle as `runc spec` proposes it: fewer namespaces than a replica of ours has, no
//! filter of system calls and no limits. It shares the machine's network, as the shortest way to its port.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use serde_json::{Value, json};

use crate::{
    Failure,
    image::Layout,
    machine::said,
    peers::{
        first_answer::{first_answer, free_address},
        installed, version,
    },
};

#[derive(Debug)]
pub(crate) struct RuncImage {
    program: PathBuf,
    directory: tempfile::TempDir,
    spec: Value,
    page: &'static [u8],
    runs: u32,
}

impl RuncImage {
    /// An image that listens where `$PORT` says, and shows this page there.
    pub(crate) fn find(image: &Layout, page: &'static [u8]) -> Result<Self, Failure> {
        let program = installed("runc")?;
        let directory = tempfile::tempdir()?;
        let root = directory.path().join("rootfs");
        fs::create_dir(&root)?;
        image.unpack(&root)?;
        said(Command::new(&program).args(["spec", "--bundle"]).arg(directory.path()))?;
        let proposed = serde_json::from_slice(&fs::read(directory.path().join("config.json"))?)?;
        Ok(Self { program, directory, spec: adapted(proposed, image), page, runs: 0 })
    }

    pub(crate) fn version(&self) -> String {
        version(&self.program)
    }

    /// From the execution of `runc run` to the first page; the container is gone when this returns.
    pub(crate) fn first_page(&mut self) -> Result<Duration, Failure> {
        self.runs += 1;
        let name = format!("dormouse-bench-image-{}-{}", std::process::id(), self.runs);
        let address = free_address()?;
        let mut spec = self.spec.clone();
        spec["linux"]["cgroupsPath"] = json!(format!("/{name}"));
        if let Some(environment) = spec["process"]["env"].as_array_mut() {
            environment.push(json!(format!("PORT={address}")));
        }
        fs::write(self.directory.path().join("config.json"), serde_json::to_vec(&spec)?)?;
        let mut run = self.runc();
        // Otherwise it stays and copies what the payload says from pipe to pipe.
        run.args(["run", "--detach", "--bundle"]).arg(self.directory.path()).arg(&name);
        let answered = first_answer(&mut run, &self.directory.path().join("words"), address, self.page);
        // Running or not, created or not.
        let deleted = said(self.runc().args(["delete", "--force", &name]));
        let took = answered?;
        deleted?;
        Ok(took)
    }

    fn runc(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(self.directory.path().join("state"));
        command
    }
}

fn adapted(mut spec: Value, image: &Layout) -> Value {
    spec["process"]["terminal"] = json!(false);
    spec["process"]["args"] = json!(image.arguments());
    spec["process"]["env"] = json!(image.environment());
    // As a replica's is.
    spec["root"]["readonly"] = json!(false);
    if let Some(namespaces) = spec["linux"]["namespaces"].as_array_mut() {
        namespaces.retain(|namespace| namespace["type"] != "network");
    }
    spec
}

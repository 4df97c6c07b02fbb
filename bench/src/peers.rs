//! Others who do a part of the same, measured in the same run. `make bench-peers` installs them; one that is missing
//! fails its rows by name.

pub(crate) mod containerd;
pub(crate) mod runc;
pub(crate) mod triton;

use std::{path::PathBuf, process::Command};

use crate::Failure;

/// A program of the machine, or who is missing and what to do.
fn installed(program: &str) -> Result<PathBuf, Failure> {
    let directories = ["/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/bin"];
    let mut places = directories.iter().map(|directory| PathBuf::from(directory).join(program));
    places
        .find(|place| place.is_file())
        .ok_or_else(|| format!("{program} is not installed: run `make bench-peers`").into())
}

/// The first line of what a program says of its version.
fn version(program: &PathBuf) -> String {
    let said = crate::machine::said(Command::new(program).arg("--version")).unwrap_or_default();
    said.lines().next().unwrap_or("of unknown version").to_owned()
}

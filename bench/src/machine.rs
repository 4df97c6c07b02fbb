//! What a figure is worthless without: on what it was measured.

use std::{fs, path::Path, process::Command};

use serde_json::{Value, json};

use crate::Failure;

#[derive(Debug, Clone)]
pub(crate) struct Facts {
    processor: String,
    processors: usize,
    memory_bytes: u64,
    kernel: String,
    control_groups: &'static str,
    revision: String,
    dormouse: String,
    onnxruntime: String,
}

impl Facts {
    pub(crate) fn gather(workspace: &Path, program: &Path, onnxruntime: &Path) -> Result<Self, Failure> {
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned();
        Ok(Self {
            processor: field("/proc/cpuinfo", "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            processors: std::thread::available_parallelism()?.get(),
            memory_bytes: field("/proc/meminfo", "MemTotal").map_or(0, |text| kibibytes(&text) << 10),
            kernel,
            control_groups: control_groups(),
            revision: revision(workspace),
            dormouse: said(Command::new(program).arg("--version"))?,
            onnxruntime: version_of(onnxruntime)?,
        })
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "processor": self.processor, "processors": self.processors, "memory_bytes": self.memory_bytes,
            "kernel": self.kernel, "control_groups": self.control_groups, "revision": self.revision,
            "dormouse": self.dormouse, "onnxruntime": self.onnxruntime,
        })
    }

    pub(crate) fn line(&self) -> String {
        let Self { processor, processors, memory_bytes, kernel, control_groups, revision, dormouse, onnxruntime } =
            self;
        let gibibytes = *memory_bytes as f64 / f64::from(1_u32 << 30);
        format!(
            "{dormouse} (revision {revision}), ONNX Runtime {onnxruntime}; {processors} × {processor}, {gibibytes:.0} GiB, \
             kernel {kernel}, control groups {control_groups}"
        )
    }
}

/// A value of a file of `name : value` lines.
pub(crate) fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| Some(line.strip_prefix(name)?.trim_start().strip_prefix(':')?.trim().to_owned()))
}

/// Of `123 kB`.
pub(crate) fn kibibytes(text: &str) -> u64 {
    text.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or_default()
}

fn control_groups() -> &'static str {
    let is_there = |path: &str| Path::new("/sys/fs/cgroup").join(path).exists();
    match (is_there("cgroup.controllers"), is_there("unified/cgroup.controllers")) {
        (true, _) => "v2",
        (false, true) => "v1, hybrid",
        (false, false) => "v1",
    }
}

/// With a mark where the sources differ from it.
fn revision(workspace: &Path) -> String {
    let git = |arguments: &[&str]| said(Command::new("git").arg("-C").arg(workspace).args(arguments));
    let Ok(revision) = git(&["rev-parse", "--short=12", "HEAD"]) else { return "unknown".to_owned() };
    let is_clean = git(&["status", "--porcelain"]).is_ok_and(|changes| changes.is_empty());
    if is_clean { revision } else { format!("{revision} and changes") }
}

/// The library carries its version in clear text: its exported API tells it nobody else who does not load it.
fn version_of(onnxruntime: &Path) -> Result<String, Failure> {
    let bytes = fs::read(onnxruntime).map_err(|error| format!("reading {}: {error}", onnxruntime.display()))?;
    const MARK: &[u8] = b"VERS_1.";
    let at = bytes.windows(MARK.len()).position(|window| window == MARK);
    let version = at.and_then(|at| bytes.get(at + 5..)).map(|rest| {
        rest.iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'.').map(|byte| char::from(*byte)).collect()
    });
    Ok(version.unwrap_or_else(|| "of unknown version".to_owned()))
}

/// What a program prints. Where it fails: its name, its verb and the first line of what it says.
pub(crate) fn said(command: &mut Command) -> Result<String, Failure> {
    let output = command.output().map_err(|error| format!("running {:?}: {error}", command.get_program()))?;
    if !output.status.success() {
        let name = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy();
        let what = command.get_args().next().unwrap_or_default().to_string_lossy();
        let told = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{name} {what}: {}", told.trim().lines().next().unwrap_or("it said nothing")).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_memory() {
        assert!(field("/proc/meminfo", "MemTotal").is_some_and(|text| kibibytes(&text) > 1 << 10));
        assert_eq!(field("/proc/meminfo", "MemTot"), None);
    }

    #[test]
    fn a_program_that_fails_is_told_with_what_it_said() {
        let failed = said(Command::new("sh").args(["-c", "echo why >&2; echo more >&2; exit 3"]));
        assert!(failed.is_err_and(|error| error.to_string() == "sh -c: why"));
    }
}

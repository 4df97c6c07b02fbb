use std::{
    io,
    path::{Path, PathBuf},
};

use super::Version;
use crate::devices::DeviceError;

/// Why a control group could not be made, changed or read.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    #[error("no control groups are mounted: `mount -t cgroup2 none /sys/fs/cgroup`, or let the init system do it")]
    NotMounted,
    #[error(
        "the `{controller}` controller is missing from control groups {version}: enable it on the kernel's command \
         line (cgroup_enable={controller}) or in its configuration, and mount it"
    )]
    ControllerMissing { controller: &'static str, version: Version },
    #[error("`{0}` cannot be the name of a control group")]
    Name(String),
    #[error("{operation} {path} failed", path = path.display())]
    File {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path} says `{text}`, which is not understood", path = path.display())]
    Malformed { path: PathBuf, text: String },
    #[error("the limits of control group {group} could not be changed", group = group.display())]
    Limits {
        group: PathBuf,
        #[source]
        source: cgroups_rs::error::Error,
    },
    #[error("control group {path} can no longer be joined: its entrance was closed", path = .0.display())]
    EntranceClosed(PathBuf),
    #[error("control group {path} has no freezer: it was not there when it was opened", path = .0.display())]
    NoFreezer(PathBuf),
    #[error("sending SIGKILL to process {pid} failed")]
    Kill {
        pid: i32,
        #[source]
        source: io::Error,
    },
    #[error("new processes still appeared after {passes} passes of killing them")]
    StillForking { passes: u32 },
    #[error(
        "the hierarchy of control groups v2 is not mounted: `mount -t cgroup2 none /sys/fs/cgroup/unified`, beside those \
         of v1"
    )]
    NoUnified,
    #[error(transparent)]
    Devices(#[from] DeviceError),
}

impl CgroupError {
    pub(super) fn file(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { operation, path: path.to_owned(), source }
    }

    /// Whether it failed because the group is not there any more: its directory is gone, or an open
    /// file outlived it.
    pub(super) fn is_gone(&self) -> bool {
        let Self::File { source, .. } = self else { return false };
        source.kind() == io::ErrorKind::NotFound || source.raw_os_error() == Some(nix::libc::ENODEV)
    }
}

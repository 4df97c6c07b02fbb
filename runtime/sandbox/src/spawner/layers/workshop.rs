//! What unpacks a layer: a child in a control group of its own.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    path::Path,
};

use dormouse_spec::{Bytes, Limits, MilliCpu};
use libcontainer::oci_spec::runtime::LinuxSeccomp;
use nix::unistd::Pid;
use rustix::fs::statfs;

use crate::{
    cgroup::{CgroupError, InstanceGroup, ReplicaGroup},
    error_chain,
    spawner::child::fork_child,
    uids::ImageIds,
    unpack::{Asked, Unpacking},
};

/// What unpacking takes, with the files' pages, which the kernel takes back as it needs them.
const UNPACK_MEMORY: Bytes = Bytes::from_mebibytes(96);
/// The child, the one that reads, and the one that holds its user namespace while that is made.
const UNPACK_PIDS: u32 = 4;
/// What `statfs` tells of a file system that is memory.
const TMPFS: i64 = 0x0102_1994;

/// Why a task is not begun.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JobError {
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    #[error("{operation} failed")]
    Io {
        operation: &'static str,
        #[source]
        source: io::Error,
    },
}

/// What all jobs share.
#[derive(Debug)]
pub(crate) struct Workshop<'a> {
    pub(crate) groups: &'a InstanceGroup,
    pub(crate) images: &'a Path,
    /// The node's user.
    pub(crate) node: u32,
    pub(crate) ids: ImageIds,
    pub(crate) seccomp: &'a LinuxSeccomp,
    /// All processors of the node.
    pub(crate) cpu: MilliCpu,
}

impl Workshop<'_> {
    /// Begins it. The child reports by the pipe.
    pub(super) fn unpack(
        &self,
        asked: &Asked,
        name: &str,
        layers: &Path,
        report: OwnedFd,
    ) -> Result<(Pid, Option<ReplicaGroup>), JobError> {
        let memory = memory(layers, asked.bytes_max);
        let limits = Limits { cpu: self.cpu, memory, pids: UNPACK_PIDS, tmp: memory };
        let group_name = group_name(name);
        let mut group = self.groups.create(&group_name, &limits)?;
        let unpacking = Unpacking {
            asked,
            group: &group,
            images: self.images,
            node: self.node,
            layers,
            unfinished: name,
            ids: self.ids,
            seccomp: self.seccomp,
            report,
        };
        let keep: Vec<_> = group.entrances().map(|fd| fd.as_raw_fd()).chain([unpacking.report.as_raw_fd()]).collect();
        let child = fork_child(&keep, || {
            unpacking.run();
            0
        });
        match child {
            Ok(child) => {
                group.close_entrance();
                group.close_memory_alarm();
                Ok((child, Some(group)))
            }
            Err(error) => {
                if let Err(error) = group.remove() {
                    let reason = error_chain::one_line(&error);
                    tracing::error!("a control group is left for the next start to remove: {reason}");
                }
                Err(failed("forking the child that unpacks it")(error))
            }
        }
    }
}

/// What is written to a file system that is memory is the memory of who writes it.
pub(super) fn memory(layers: &Path, bytes_max: u64) -> Bytes {
    let is_memory = statfs(layers).is_ok_and(|found| found.f_type == TMPFS);
    if is_memory { UNPACK_MEMORY.saturating_add(Bytes::new(bytes_max)) } else { UNPACK_MEMORY }
}

/// Of no replica: such a name ends with two numbers.
pub(super) fn group_name(unfinished: &str) -> String {
    format!("layer{}", unfinished.trim_start_matches(".incoming"))
}

pub(super) fn failed(operation: &'static str) -> impl FnOnce(io::Error) -> JobError {
    move |source| JobError::Io { operation, source }
}

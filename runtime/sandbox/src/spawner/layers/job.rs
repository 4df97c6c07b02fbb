//! One layer that is unpacked or removed: the child that does it, and the child that clears up after it.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::Path,
    time::{Duration, Instant},
};

use dormouse_spec::{Bytes, Limits, MilliCpu};
use libcontainer::oci_spec::runtime::LinuxSeccomp;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rustix::{fs::statfs, process::WaitStatus};

use super::{LayerStore, Task};
use crate::{
    cgroup::{CgroupError, InstanceGroup, ReplicaGroup},
    error_chain,
    spawner::{child::fork_child, how_ended, sweep::remove_group},
    uids::ImageIds,
    unpack::{Asked, Layer, Report, Unpacking, read_report},
};

/// What unpacking takes, with the files' pages, which the kernel takes back as it needs them.
const UNPACK_MEMORY: Bytes = Bytes::from_mebibytes(96);
/// The child, the one that reads, and the one that holds its user namespace while that is made.
const UNPACK_PIDS: u32 = 4;
/// How long one layer may be worked on: as long as the slowest disk may take for the largest.
const JOB_DEADLINE: Duration = Duration::from_secs(60 * 60);
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

#[derive(Debug)]
enum Life {
    Working {
        child: Pid,
        report: File,
        /// Of one that unpacks.
        group: Option<ReplicaGroup>,
    },
    /// The outcome is known; whatever is left in the group is ended.
    EndingGroup { child: Pid, failure: Option<String> },
    /// It failed, and what is left of it is removed.
    Clearing { child: Pid, failure: String },
}

/// What has become of a task.
#[derive(Debug)]
pub(crate) enum Ended {
    Unpacked(Layer),
    Removed,
    Failed(String),
}

#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) task: Task,
    /// Of what is unfinished.
    name: String,
    life: Life,
    /// Whoever asked is still there to be told.
    pub(crate) is_awaited: bool,
    /// When it is killed.
    until: Instant,
    is_overdue: bool,
}

impl Job {
    pub(crate) fn begin(task: Task, store: &mut LayerStore, workshop: &Workshop<'_>) -> Result<Self, JobError> {
        let name = match task {
            Task::Unpack(_) => store.unfinished_name(),
            Task::Remove(_) => store.removed_name(),
        };
        let (report, writer) = io::pipe().map_err(failed("making the report pipe"))?;
        let report = File::from(OwnedFd::from(report));
        let (child, group) = match &task {
            Task::Unpack(asked) => unpack(asked, &name, store, workshop, writer.into())?,
            Task::Remove(diff_id) => {
                let child = fork_child(&[writer.as_raw_fd()], || {
                    let removed = store.remove_layer(diff_id, &name);
                    let report = removed.map_or_else(
                        |error| Report::Failed { reason: error_chain::one_line(&error) },
                        |()| Report::Removed,
                    );
                    i32::from(serde_json::to_writer(&writer, &report).is_err())
                });
                (child.map_err(failed("forking the child that removes it"))?, None)
            }
        };
        // It is read when the child has ended. What it had begun may still hold the other end.
        rustix::io::ioctl_fionbio(report.as_fd(), true)
            .map_err(|error| failed("preparing the report pipe")(error.into()))?;
        Ok(Self {
            task,
            name,
            life: Life::Working { child, report, group },
            is_awaited: true,
            until: Instant::now() + JOB_DEADLINE,
            is_overdue: false,
        })
    }

    pub(crate) fn child(&self) -> Pid {
        match self.life {
            Life::Working { child, .. } | Life::EndingGroup { child, .. } | Life::Clearing { child, .. } => child,
        }
    }

    pub(crate) fn forget_who_asked(&mut self) {
        self.is_awaited = false;
    }

    /// When it will have taken too long.
    pub(crate) fn due(&self) -> Option<Instant> {
        (matches!(self.life, Life::Working { .. }) && !self.is_overdue).then_some(self.until)
    }

    pub(crate) fn kill_overdue(&mut self, now: Instant) {
        if self.due().is_some_and(|due| now >= due) {
            self.is_overdue = true;
            self.kill();
        }
    }

    /// Ends what works on it, and what removes the rest, which the next start does as well. That nothing of it
    /// runs any more is seen to.
    pub(crate) fn kill(&mut self) {
        let (Life::Working { child, .. } | Life::Clearing { child, .. }) = &self.life else { return };
        // It can only fail where the child ended already, which is about to be told.
        let _ = kill(*child, Signal::SIGKILL);
        let Life::Working { group, .. } = &self.life else { return };
        if let Some(Err(error)) = group.as_ref().map(ReplicaGroup::kill) {
            tracing::error!(layer = self.name, "killing it failed: {}", error_chain::one_line(&error));
        }
    }

    /// Its child ended. The outcome, where it can be told; and the job, where something is left to be done.
    pub(crate) fn on_child_ended(
        self,
        status: WaitStatus,
        store: &LayerStore,
        groups: &InstanceGroup,
        is_stopping: bool,
    ) -> (Option<Ended>, Option<Self>) {
        match self.life {
            Life::Working { ref report, ref group, .. } => {
                let ended = self.outcome(report, group.as_ref(), status, store);
                if group.is_some() { self.end_group(ended, groups) } else { (Some(ended), None) }
            }
            Life::EndingGroup { failure: None, .. } if status.exit_status() == Some(0) => (None, None),
            Life::EndingGroup { failure: Some(ref reason), .. } if status.exit_status() == Some(0) && !is_stopping => {
                let reason = reason.clone();
                self.clear(reason, store)
            }
            Life::EndingGroup { failure, .. } => {
                tracing::warn!(layer = self.name, "something of it is left for the next start to remove");
                (failure.map(Ended::Failed), None)
            }
            Life::Clearing { failure, .. } => {
                if status.exit_status() != Some(0) {
                    tracing::warn!(layer = self.name, "something of it is left for the next start to remove");
                }
                (Some(Ended::Failed(failure)), None)
            }
        }
    }

    /// Has another child end what is left in the group. A failure is told when all is cleared, since who hears of
    /// it may need the space.
    fn end_group(mut self, ended: Ended, groups: &InstanceGroup) -> (Option<Ended>, Option<Self>) {
        let group = group_name(&self.name);
        let child = fork_child(&[], || {
            let is_gone = groups.open(&group).is_ok_and(|opened| remove_group(&opened, &group).is_ok());
            i32::from(!is_gone)
        });
        let (told, failure) = match ended {
            Ended::Failed(reason) => (None, Some(reason)),
            ended => (Some(ended), None),
        };
        match child {
            Ok(child) => {
                self.life = Life::EndingGroup { child, failure };
                (told, Some(self))
            }
            Err(error) => {
                tracing::error!(layer = self.name, "what is left of it waits for the next start: {error}");
                (told.or(failure.map(Ended::Failed)), None)
            }
        }
    }

    /// Has another child remove what is left, be it unfinished or finished and not told: nobody knows the layer.
    fn clear(mut self, reason: String, store: &LayerStore) -> (Option<Ended>, Option<Self>) {
        let (name, diff_id) = (self.name.as_str(), self.task.diff_id());
        match fork_child(&[], || i32::from(store.clear(name, &diff_id).is_err())) {
            Ok(child) => {
                self.life = Life::Clearing { child, failure: reason };
                (None, Some(self))
            }
            Err(error) => {
                tracing::error!(layer = name, "what is left of it waits for the next start: {error}");
                (Some(Ended::Failed(reason)), None)
            }
        }
    }

    fn outcome(&self, report: &File, group: Option<&ReplicaGroup>, status: WaitStatus, store: &LayerStore) -> Ended {
        let is_out_of_memory = || group.is_some_and(|group| group.out_of_memory_kills().is_ok_and(|kills| kills > 0));
        match (read_report(report), &self.task) {
            (Some(Report::Unpacked(layer)), _) => Ended::Unpacked(layer),
            (Some(Report::Removed), _) => Ended::Removed,
            _ if self.is_overdue => {
                let minutes = JOB_DEADLINE.as_secs() / 60;
                Ended::Failed(format!("it took more than the {minutes} minutes that one layer may"))
            }
            (_, Task::Unpack(asked)) if is_out_of_memory() => {
                let memory = memory(&store.path, asked.bytes_max);
                Ended::Failed(format!("unpacking it took more than the {memory} of memory that it may"))
            }
            (Some(Report::Failed { reason }), _) => Ended::Failed(reason),
            (None, _) => Ended::Failed(format!("the process that worked on it {}", how_ended(status))),
        }
    }
}

fn unpack(
    asked: &Asked,
    name: &str,
    store: &LayerStore,
    workshop: &Workshop<'_>,
    report: OwnedFd,
) -> Result<(Pid, Option<ReplicaGroup>), JobError> {
    let memory = memory(&store.path, asked.bytes_max);
    let limits = Limits { cpu: workshop.cpu, memory, pids: UNPACK_PIDS, tmp: memory };
    let group_name = group_name(name);
    let mut group = workshop.groups.create(&group_name, &limits)?;
    let unpacking = Unpacking {
        asked,
        group: &group,
        images: workshop.images,
        node: workshop.node,
        layers: &store.path,
        unfinished: name,
        ids: workshop.ids,
        seccomp: workshop.seccomp,
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

/// What is written to a file system that is memory is the memory of who writes it.
fn memory(layers: &Path, bytes_max: u64) -> Bytes {
    let is_memory = statfs(layers).is_ok_and(|found| found.f_type == TMPFS);
    if is_memory { UNPACK_MEMORY.saturating_add(Bytes::new(bytes_max)) } else { UNPACK_MEMORY }
}

/// Of no replica: such a name ends with two numbers.
fn group_name(unfinished: &str) -> String {
    format!("layer{}", unfinished.trim_start_matches(".incoming"))
}

fn failed(operation: &'static str) -> impl FnOnce(io::Error) -> JobError {
    move |source| JobError::Io { operation, source }
}

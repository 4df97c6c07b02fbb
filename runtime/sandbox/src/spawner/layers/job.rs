//! One layer that is unpacked or removed: the child that does it, and the child that clears up after it.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rustix::process::WaitStatus;

use super::{
    LayerStore, Task,
    workshop::{JobError, Workshop, failed, group_name, memory},
};
use crate::{
    cgroup::{InstanceGroup, ReplicaGroup},
    error_chain,
    spawner::{child::fork_child, how_ended, sweep::remove_group},
    unpack::{Layer, Report, read_report},
};

/// How long one layer may be worked on: as long as the slowest disk may take for the largest.
const JOB_DEADLINE: Duration = Duration::from_secs(60 * 60);

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
            Task::Unpack(asked) => workshop.unpack(asked, &name, &store.path, writer.into())?,
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::process;

    use dormouse_spec::Digest;

    use super::*;

    #[test]
    fn a_job_that_takes_too_long_is_ended_and_says_so() {
        let place = tempfile::tempdir().unwrap();
        let store = LayerStore::open(place.path()).store;
        // It reads until its input ends, which is held open here.
        let mut process =
            process::Command::new("cat").stdin(process::Stdio::piped()).stdout(process::Stdio::null()).spawn().unwrap();
        let child = Pid::from_raw(process.id().try_into().unwrap());
        let report = File::from(OwnedFd::from(io::pipe().unwrap().0));
        let until = Instant::now() + JOB_DEADLINE;
        let mut job = Job {
            task: Task::Remove(Digest::from_sha256([1; 32])),
            name: ".removing-1".to_owned(),
            life: Life::Working { child, report, group: None },
            is_awaited: true,
            until,
            is_overdue: false,
        };
        assert_eq!(job.due(), Some(until));
        job.kill_overdue(until - Duration::from_nanos(1));
        assert_eq!(process.try_wait().unwrap(), None);
        job.kill_overdue(until);
        assert_eq!(job.due(), None, "it is killed once");
        let pid = rustix::process::Pid::from_raw(child.as_raw());
        let (_, status) = rustix::process::waitpid(pid, rustix::process::WaitOptions::empty()).unwrap().unwrap();
        assert_eq!(status.terminating_signal(), Some(Signal::SIGKILL as i32));
        let Life::Working { ref report, .. } = job.life else { panic!() };
        let Ended::Failed(reason) = job.outcome(report, None, status, &store) else { panic!() };
        assert!(reason.contains("60 minutes"), "{reason}");
    }
}

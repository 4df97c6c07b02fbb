//! One replica in the spawner's table: what it holds and where it is in its life.

use std::{
    fs::File,
    io::{self, Read},
    iter,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::Path,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use libcontainer::oci_spec::runtime::LinuxSeccomp;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rustix::{net::RecvFlags, process::WaitStatus};
use serde::{Deserialize, Serialize};

use super::{
    child::fork_child,
    listeners::{ListenError, listen_unix},
    sweep::{SweepError, remove_group},
};
use crate::{
    cgroup::{CgroupError, FreezerState, InstanceGroup, MemoryAlarm, ReplicaGroup},
    channel::{self, Channel, ChannelError},
    creation::{Creation, REPORT_BYTES_MAX, Report},
    error_chain,
    instance::Instance,
    messages::{End, ExitCause, ReplicaReport, ReplicaSpec, ReplicaState, Work},
    prepared,
    rootfs::{MODEL_DIRECTORY, Rootfs},
};

/// A group that takes longer to freeze is thawed and reported: something in it cannot stop.
const FREEZE_DEADLINE: Duration = Duration::from_secs(1);
/// After an alarm the kernel's kill is looked for this long: an alarm may be of a group above this one.
const MEMORY_LOOK_MAX: Duration = Duration::from_secs(1);
/// The longest reason a worker may give for a failed load.
const LOAD_REASON_BYTES_MAX: usize = 4_096;

/// How often what is left of a replica is tried to be removed before that waits for the next start.
const REMOVALS_MAX: u32 = 5;

/// Why a replica could not be begun.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BeginError {
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("making the control channel failed")]
    Channel(#[from] ChannelError),
    #[error("{operation} failed")]
    Io {
        operation: &'static str,
        #[source]
        source: io::Error,
    },
}

/// What the spawner tells a worker, with the listening socket attached.
#[derive(Debug, Serialize, Deserialize)]
struct Assignment {
    name: String,
    version: String,
    work: AssignedWork,
    sources: Vec<ModelSource>,
    intra_op_threads: u32,
    body_bytes_max: u64,
    concurrency: u32,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum AssignedWork {
    Serve,
    Prepare,
}

/// Where a worker finds its model, the best first. Descriptors follow the listener in this order.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum ModelSource {
    /// A file of its container; external data lies beside it.
    OnnxFile { path: String },
    /// A model in ORT format.
    OrtDescriptor {},
}

#[derive(Debug)]
enum Life {
    /// A child makes the container.
    Creating { child: Pid, report: File },
    /// The payload's first process runs; the spawner is its parent.
    Running { pid: Pid },
    /// No process is left; a child removes the rest.
    Removing { child: Pid },
    /// The payload ended and the node was told; nothing removes the rest yet.
    Dead,
}

/// What a worker said on its control channel.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Ready,
    LoadFailed(String),
    /// It closed its end, or said something that is not in the contract.
    NothingMore,
}

/// What became of a freeze.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Freeze {
    Frozen,
    StillFreezing,
    /// Thawed again: it did not come to rest within the deadline.
    GaveUp,
}

#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) spec: ReplicaSpec,
    group: ReplicaGroup,
    life: Life,
    control: Option<OwnedFd>,
    /// A duplicate of the log's reading end: were it closed with a node, the worker's next line
    /// would kill it. The spawner never reads it.
    log: OwnedFd,
    started_at_ms: u64,
    said: bool,
    ready: bool,
    frozen: bool,
    freezing_until: Option<Instant>,
    memory_looked_at_until: Option<Instant>,
    stop_asked: bool,
    kill_at: Option<Instant>,
    removals: u32,
}

/// What all creations share.
#[derive(Debug)]
pub(crate) struct Workshop<'a> {
    pub(crate) instance: &'a Instance,
    pub(crate) store: &'a Path,
    pub(crate) prepared: &'a Path,
    pub(crate) rootfs: &'a Rootfs,
    pub(crate) seccomp: &'a LinuxSeccomp,
    pub(crate) node_gid: u32,
    pub(crate) setup_uid: u32,
}

impl Replica {
    /// Makes what the spawner keeps of a replica and forks the child that makes the container. Where
    /// that fails, the group is gone too.
    pub(crate) fn begin(
        workshop: &Workshop<'_>,
        spec: ReplicaSpec,
        mut group: ReplicaGroup,
        endpoint_uid: u32,
    ) -> Result<Self, BeginError> {
        match Self::fork_creation(workshop, &spec, &group, endpoint_uid) {
            Ok((life, control, log)) => {
                group.close_entrance();
                let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                let started_at_ms = u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX);
                Ok(Self {
                    spec,
                    group,
                    life,
                    control: Some(control),
                    log,
                    started_at_ms,
                    said: false,
                    ready: false,
                    frozen: false,
                    freezing_until: None,
                    memory_looked_at_until: None,
                    stop_asked: false,
                    kill_at: None,
                    removals: 0,
                })
            }
            Err(error) => {
                if let Err(error) = group.remove() {
                    let reason = error_chain::one_line(&error);
                    tracing::error!("a control group is left for the next start to remove: {reason}");
                }
                Err(error)
            }
        }
    }

    fn fork_creation(
        workshop: &Workshop<'_>,
        spec: &ReplicaSpec,
        group: &ReplicaGroup,
        endpoint_uid: u32,
    ) -> Result<(Life, OwnedFd, OwnedFd), BeginError> {
        let requested = Instant::now();
        let io = |operation| move |source| BeginError::Io { operation, source };
        let (control, workers_control) = channel::pair()?;
        let (log, log_writer) = std::io::pipe().map_err(io("making the log pipe"))?;
        let (report, report_writer) = std::io::pipe().map_err(io("making the report pipe"))?;
        let listener = listen_unix(&workshop.instance.socket_of(spec.replica.as_str()), workshop.node_gid)?;
        // Waits in the socket until the worker reads it. The worker's copy of the listener is then
        // the only one: when it dies, the kernel refuses what waits.
        let to_worker = Channel::<Assignment, Assignment>::without_descriptors(control);
        let prepared = open_prepared(workshop.prepared, spec);
        let descriptors: Vec<_> = iter::once(listener.as_fd()).chain(prepared.as_ref().map(AsFd::as_fd)).collect();
        to_worker.try_send(&Assignment::of(spec, prepared.is_some()), &descriptors)?;
        let control = to_worker.into_socket();

        let creation = Creation {
            replica: spec.replica.as_str(),
            rootfs: workshop.rootfs,
            group,
            store: workshop.store,
            model: &spec.model,
            tmp_bytes: spec.limits.tmp.get(),
            setup_uid: workshop.setup_uid,
            endpoint_uid,
            seccomp: workshop.seccomp,
            control: workers_control,
            log: log_writer.into(),
            report: report_writer.into(),
            requested,
        };
        let own = [&creation.control, &creation.log, &creation.report];
        let entrances = group.entrances().map(|fd| fd.as_raw_fd());
        let keep: Vec<_> = entrances.chain(own.map(AsRawFd::as_raw_fd)).collect();
        let child = fork_child(&keep, || {
            creation.run();
            0
        })
        .map_err(io("forking the creation child"))?;
        let report = OwnedFd::from(report);
        rustix::io::ioctl_fionbio(&report, true).map_err(|error| io("preparing the report pipe")(error.into()))?;
        Ok((Life::Creating { child, report: report.into() }, control, log.into()))
    }

    pub(crate) fn started_at_ms(&self) -> u64 {
        self.started_at_ms
    }

    pub(crate) fn log(&self) -> BorrowedFd<'_> {
        self.log.as_fd()
    }

    pub(crate) fn is_over(&self) -> bool {
        matches!(self.life, Life::Removing { .. } | Life::Dead)
    }

    /// As a restarted node is told.
    pub(crate) fn report(&self) -> ReplicaReport {
        let state = match self.life {
            Life::Removing { .. } | Life::Dead => ReplicaState::Stopping,
            _ if self.stop_asked => ReplicaState::Stopping,
            _ if self.frozen => ReplicaState::Frozen,
            _ if self.ready => ReplicaState::Ready,
            _ => ReplicaState::Starting,
        };
        ReplicaReport { spec: self.spec.clone(), state, started_at_ms: self.started_at_ms }
    }

    /// The pipe that a running creation reports on.
    pub(crate) fn creation_pipe(&self) -> Option<BorrowedFd<'_>> {
        match &self.life {
            Life::Creating { report, .. } => Some(report.as_fd()),
            _ => None,
        }
    }

    /// The worker's control channel from when it runs until it said its one word. After that it is
    /// held and not looked at: a worker could otherwise keep the spawner and the node busy with it.
    pub(crate) fn control(&self) -> Option<BorrowedFd<'_>> {
        let is_awaited = !self.said && !matches!(self.life, Life::Creating { .. });
        self.control.as_ref().filter(|_| is_awaited).map(AsFd::as_fd)
    }

    /// Reads what the creation child reported, if it did.
    pub(crate) fn read_report(&mut self) -> Option<Report> {
        let Life::Creating { report, .. } = &mut self.life else { return None };
        let mut bytes = [0; REPORT_BYTES_MAX];
        let failed = |reason: String| Some(Report::Failed { reason });
        let told = match report.read(&mut bytes) {
            Ok(0) => failed("the creation child ended without a report".to_owned()),
            Ok(length) => match serde_json::from_slice(bytes.get(..length).unwrap_or_default()) {
                Ok(report) => Some(report),
                Err(error) => failed(format!("the creation child's report is damaged: {error}")),
            },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => failed(format!("reading the creation child's report failed: {error}")),
        };
        match told {
            Some(Report::Created { pid, .. }) => {
                let pid = Pid::from_raw(pid);
                self.life = Life::Running { pid };
                if self.stop_asked {
                    // It could not be asked to end before it was there.
                    let _ = kill(pid, Signal::SIGTERM);
                }
            }
            Some(Report::Failed { .. }) => self.life = Life::Dead,
            None => {}
        }
        told
    }

    /// Reads one message of the worker's, if one waits.
    pub(crate) fn read_control(&mut self) -> Option<Said> {
        let control = self.control()?;
        let mut bytes = [0; LOAD_REASON_BYTES_MAX + 1];
        let said = match rustix::net::recv(control, &mut bytes, RecvFlags::DONTWAIT) {
            Ok((0, _)) => Said::NothingMore,
            Ok((length, _)) => match bytes.get(..length).and_then(<[u8]>::split_first) {
                Some((b'R', [])) => Said::Ready,
                Some((b'E', reason)) => Said::LoadFailed(error_chain::on_one_line(&String::from_utf8_lossy(reason))),
                _ => Said::NothingMore,
            },
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return None,
            Err(_) => Said::NothingMore,
        };
        match said {
            Said::Ready => self.ready = true,
            Said::LoadFailed(_) => {}
            Said::NothingMore => self.control = None,
        }
        self.said = true;
        Some(said)
    }

    pub(crate) fn is_creation_child(&self, pid: Pid) -> bool {
        matches!(self.life, Life::Creating { child, .. } if child == pid)
    }

    pub(crate) fn is_payload(&self, pid: Pid) -> bool {
        matches!(self.life, Life::Running { pid: payload } if payload == pid)
    }

    pub(crate) fn is_removal_child(&self, pid: Pid) -> bool {
        matches!(self.life, Life::Removing { child } if child == pid)
    }

    /// The payload's first process ended, and with it, by its pid namespace, every other.
    pub(crate) fn ended(&mut self, status: Option<WaitStatus>) -> ExitCause {
        self.life = Life::Dead;
        if self.stop_asked {
            return ExitCause::Stopped;
        }
        // Whatever its first process made of the loss of another, that was what went wrong.
        if self.exceeded_memory() {
            return ExitCause::OutOfMemory { limit_bytes: self.spec.limits.memory.get() };
        }
        let ended = match status.and_then(WaitStatus::terminating_signal) {
            Some(signal) => End::Signal(signal),
            // The kernel was asked only for children that ended: one or the other is told.
            None => End::Code(status.and_then(WaitStatus::exit_status).unwrap_or(-1)),
        };
        if self.group.process_refusals().is_ok_and(|refusals| refusals > 0) {
            return ExitCause::OutOfProcesses { limit: self.spec.limits.pids, ended };
        }
        ended.into()
    }

    /// A group whose counter cannot be read any more has not told of an excess.
    fn exceeded_memory(&self) -> bool {
        self.group.out_of_memory_kills().is_ok_and(|kills| kills > 0)
    }

    /// The alarm of a replica that lives, for the loop to watch.
    pub(crate) fn memory_alarm(&self) -> Option<&MemoryAlarm> {
        self.group.memory_alarm().filter(|_| !self.is_over())
    }

    /// The alarm went off: the kernel is about to kill a process, here or in another group.
    pub(crate) fn on_memory_alarm(&mut self, now: Instant) {
        if let Some(alarm) = self.group.memory_alarm() {
            alarm.reset();
        }
        self.memory_looked_at_until = Some(now + MEMORY_LOOK_MAX);
    }

    pub(crate) fn is_memory_looked_at(&self) -> bool {
        self.memory_looked_at_until.is_some()
    }

    /// Ends the whole replica once the kernel has killed one of its processes.
    pub(crate) fn look_at_memory(&mut self, now: Instant) -> Result<(), CgroupError> {
        if self.exceeded_memory() {
            self.memory_looked_at_until = None;
            return self.group.kill();
        }
        self.memory_looked_at_until = self.memory_looked_at_until.filter(|until| now < *until);
        Ok(())
    }

    /// Forks the child that waits for the kernel to let go of the group; that can take long, and
    /// the spawner is on the way of every wake.
    pub(crate) fn begin_removal(&mut self, instance: &Instance, groups: &InstanceGroup) -> io::Result<()> {
        self.control = None;
        self.freezing_until = None;
        self.memory_looked_at_until = None;
        self.kill_at = None;
        self.group.close_memory_alarm();
        self.removals += 1;
        let socket = instance.socket_of(self.spec.replica.as_str());
        let name = self.spec.replica.as_str();
        let child = fork_child(&[], || {
            // A socket's name that is left is removed by the next start.
            let _ = std::fs::remove_file(&socket);
            // Opened anew: the descriptors of ours were closed on the way here.
            match groups.open(name).map_err(SweepError::from).and_then(|group| remove_group(&group, name)) {
                Ok(()) => 0,
                Err(error) => {
                    let reason = error_chain::one_line(&error);
                    tracing::error!(replica = name, "removing a replica failed: {reason}");
                    1
                }
            }
        })?;
        self.life = Life::Removing { child };
        Ok(())
    }

    pub(crate) fn may_be_removed_again(&self) -> bool {
        self.removals < REMOVALS_MAX
    }

    /// Begins to stop every process where it is.
    pub(crate) fn freeze(&mut self, now: Instant) -> Result<Freeze, CgroupError> {
        self.group.freeze()?;
        self.freezing_until = Some(now + FREEZE_DEADLINE);
        self.look_at_freeze(now)
    }

    /// Whether a freeze that was begun has ended.
    pub(crate) fn look_at_freeze(&mut self, now: Instant) -> Result<Freeze, CgroupError> {
        if self.group.freezer_state()? == FreezerState::Frozen {
            self.freezing_until = None;
            self.frozen = true;
            return Ok(Freeze::Frozen);
        }
        if self.freezing_until.is_some_and(|deadline| now >= deadline) {
            self.thaw()?;
            return Ok(Freeze::GaveUp);
        }
        Ok(Freeze::StillFreezing)
    }

    pub(crate) fn is_freezing(&self) -> bool {
        self.freezing_until.is_some()
    }

    pub(crate) fn thaw(&mut self) -> Result<(), CgroupError> {
        self.freezing_until = None;
        self.frozen = false;
        self.group.thaw()
    }

    /// Asks the payload to end; after `grace` it is killed. Without grace it is killed at once.
    pub(crate) fn stop(&mut self, now: Instant, grace: Duration) -> Result<(), CgroupError> {
        self.stop_asked = true;
        if grace.is_zero() {
            return self.kill();
        }
        if let Life::Running { pid } = self.life {
            // A frozen process does not see a signal.
            self.thaw()?;
            // It can only fail where the payload has ended, which is about to be told.
            let _ = kill(pid, Signal::SIGTERM);
        }
        self.kill_at = Some(now + grace);
        Ok(())
    }

    /// Ends everything of the replica, its creation included.
    pub(crate) fn kill(&mut self) -> Result<(), CgroupError> {
        self.stop_asked = true;
        self.kill_at = None;
        self.freezing_until = None;
        self.frozen = false;
        if let Life::Creating { child, .. } = self.life {
            let _ = kill(child, Signal::SIGKILL);
        }
        self.group.kill()
    }

    pub(crate) fn was_told_to_stop(&self) -> bool {
        self.stop_asked
    }

    pub(crate) fn kill_at(&self) -> Option<Instant> {
        self.kill_at
    }
}

/// The prepared model that the replica is to serve from. One that cannot be opened costs time, not
/// the replica: the model itself serves.
fn open_prepared(store: &Path, spec: &ReplicaSpec) -> Option<OwnedFd> {
    let Work::Serve { prepared: Some(name) } = &spec.work else { return None };
    let opened = prepared::open(store, name).inspect_err(|error| {
        let replica = spec.replica.as_str();
        tracing::warn!(replica, "the original model serves: {}", error_chain::one_line(error));
    });
    opened.ok()
}

impl Assignment {
    fn of(spec: &ReplicaSpec, is_prepared: bool) -> Self {
        let original = ModelSource::OnnxFile { path: format!("{MODEL_DIRECTORY}/model.onnx") };
        Self {
            name: spec.replica.endpoint().to_string(),
            version: spec.replica.revision().to_string(),
            work: match spec.work {
                Work::Serve { .. } => AssignedWork::Serve,
                Work::Prepare {} => AssignedWork::Prepare,
            },
            sources: is_prepared.then_some(ModelSource::OrtDescriptor {}).into_iter().chain([original]).collect(),
            intra_op_threads: spec.intra_op_threads,
            body_bytes_max: spec.body_bytes_max,
            concurrency: spec.concurrency,
        }
    }
}

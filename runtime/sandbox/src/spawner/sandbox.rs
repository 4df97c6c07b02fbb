//! What runs in one control group with all that the spawner holds of it, whatever it is for: a
//! replica's container, a blank that waits to become one, a server in the container of its template.

mod begin;
mod image;
mod server;

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Read},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    time::{Duration, Instant},
};

use dormouse_spec::Limits;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rustix::process::WaitStatus;

pub(crate) use self::begin::{BeginError, ImagePlan, Plan, Workshop};
use self::image::{Helper, ImageProcess};
pub(crate) use self::server::NextServer;
use super::{
    child::fork_child,
    order::ServerNumber,
    sweep::{SweepError, remove_group},
    word::{Said, Word},
};
use crate::{
    cgroup::{CgroupError, FreezerState, InstanceGroup, MemoryAlarm, ReplicaGroup},
    creation::{REPORT_BYTES_MAX, Report},
    error_chain,
    messages::{End, ExitCause, ReplicaId},
};

/// A group that takes longer to freeze is thawed and reported: something in it cannot stop.
const FREEZE_DEADLINE: Duration = Duration::from_secs(1);
/// After an alarm the kernel's kill is looked for this long: an alarm may be of a group above this one.
const MEMORY_LOOK_MAX: Duration = Duration::from_secs(1);
/// Where killing failed, as for want of descriptors.
const KILL_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Between two attempts to kill a server that may have yet to join its group.
const KILL_SERVER_EVERY: Duration = Duration::from_millis(50);
/// What an end is told as that nobody saw.
const UNKNOWN_STATUS: i32 = -1;
/// How often what is left of a sandbox is tried to be removed before that waits for the next start.
const REMOVALS_MAX: u32 = 5;

#[derive(Debug)]
enum Life {
    /// A child makes the container.
    Creating { child: Pid, report: File },
    /// The payload's first process runs; the spawner is its parent.
    Running { pid: Pid },
    /// A server runs, or is about to; its template is its parent.
    Forked,
    /// A server whose processes were killed: its template is asked how it ended.
    Reaping,
    /// No process is left; a child removes the rest.
    Removing { child: Pid },
    /// The payload ended and the node was told; nothing removes the rest yet.
    Dead,
}

/// With a template whose server was killed: it has to be told of the end of its channel, and then to tell
/// how it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    Unneeded,
    Until(Instant),
    /// The template is being ended, and its end will be the server's.
    Over,
}

/// What runs in it, as far as that makes a difference here.
#[derive(Debug)]
enum Kind {
    Worker,
    /// A worker whose servers are forks of it.
    Template {
        /// Forked ahead.
        next: Option<NextServer>,
        /// Servers that never served, of which it was asked how they ended.
        discarded: BTreeSet<ServerNumber>,
    },
    Server {
        template: ReplicaId,
        number: ServerNumber,
        patience: Patience,
    },
    Image(ImageProcess),
}

/// What is said between a worker and the spawner. Nothing else has one.
#[derive(Debug)]
struct Conversation {
    /// Until there is nothing more to say.
    control: Option<OwnedFd>,
    word: Word,
}

impl Conversation {
    fn with(control: OwnedFd) -> Self {
        Self { control: Some(control), word: Word::default() }
    }
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
pub(crate) struct Sandbox {
    name: String,
    kind: Kind,
    uid: u32,
    /// As they are in force.
    limits: Limits,
    group: ReplicaGroup,
    life: Life,
    conversation: Option<Conversation>,
    /// A duplicate of the log's reading end: were it closed with a node, the worker's next line
    /// would kill it. The spawner never reads it.
    log: OwnedFd,
    frozen: bool,
    freezing_until: Option<Instant>,
    memory_looked_at_until: Option<Instant>,
    stop_asked: bool,
    kill_at: Option<Instant>,
    removals: u32,
}

impl Sandbox {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn uid(&self) -> u32 {
        self.uid
    }

    pub(crate) fn log(&self) -> BorrowedFd<'_> {
        self.log.as_fd()
    }

    /// Changes the limits of what runs in it.
    pub(crate) fn set_limits(&mut self, limits: &Limits) -> Result<(), CgroupError> {
        self.group.set_limits(limits)?;
        self.limits = *limits;
        Ok(())
    }

    pub(crate) fn is_over(&self) -> bool {
        matches!(self.life, Life::Removing { .. } | Life::Dead)
    }

    pub(crate) fn is_frozen(&self) -> bool {
        self.frozen
    }

    /// The pipe that a running creation reports on.
    pub(crate) fn creation_pipe(&self) -> Option<BorrowedFd<'_>> {
        match &self.life {
            Life::Creating { report, .. } => Some(report.as_fd()),
            _ => None,
        }
    }

    /// The worker's control channel, where something may be written to it.
    pub(crate) fn channel(&self) -> Option<BorrowedFd<'_>> {
        self.conversation.as_ref()?.control.as_ref().map(AsFd::as_fd)
    }

    fn word(&self) -> Option<Word> {
        self.conversation.as_ref().map(|conversation| conversation.word)
    }

    fn hang_up(&mut self) {
        if let Some(conversation) = &mut self.conversation {
            conversation.control = None;
        }
    }

    /// The same from when it runs until it said its last word. After that it is held and not looked
    /// at: a worker could otherwise keep the spawner and the node busy with it. A template has answers
    /// to give for as long as it lives.
    pub(crate) fn awaited_channel(&self) -> Option<BorrowedFd<'_>> {
        let word = self.word()?;
        let has_more = word.is_awaited() || (self.forks() && word.is_ready());
        self.channel().filter(|_| has_more && matches!(self.life, Life::Running { .. } | Life::Forked))
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
        let told = match told {
            // Root will send signals to it: it has to be one of ours, whoever wrote that.
            Some(Report::Created { pid, .. }) if !self.is_of_group(pid) => {
                let _ = self.group.kill();
                failed(format!("the creation child reported process {pid}, which is not in its control group"))
            }
            told => told,
        };
        match told {
            Some(Report::Created { pid, network, helper, .. }) => {
                let pid = Pid::from_raw(pid);
                self.life = Life::Running { pid };
                self.hold_network(pid, network);
                self.watch_helper(helper);
                if self.stop_asked {
                    // It could not be asked to end before it was there.
                    self.ask_to_end(pid);
                }
            }
            Some(Report::Failed { .. }) => self.life = Life::Dead,
            None => {}
        }
        told
    }

    /// One that ends is in no group any more, though it may wait for all others of its pid namespace before its parent can
    /// be told.
    fn is_of_group(&self, pid: i32) -> bool {
        let Life::Creating { child, .. } = &self.life else { return false };
        let is_in_group = || self.group.processes().is_ok_and(|processes| processes.contains(&pid));
        pid > 1 && (is_in_group() || is_ending_child(pid, &[*child, Pid::this()]))
    }

    /// Reads one message of the worker's, if one waits.
    pub(crate) fn read_word(&mut self) -> Option<Said> {
        let said = self.word()?.read(self.awaited_channel()?)?;
        let said = self.checked(said);
        if said == Said::NothingMore {
            self.hang_up();
        }
        if matches!(said, Said::Ready(_)) && self.stop_asked {
            self.ask_once_more();
        }
        if let Some(conversation) = &mut self.conversation {
            conversation.word.heard(&said);
        }
        Some(said)
    }

    /// Its worker waits for an assignment.
    pub(crate) fn is_blank(&self) -> bool {
        self.word() == Some(Word::Blank)
    }

    /// It said that it serves.
    pub(crate) fn is_ready(&self) -> bool {
        self.word().is_some_and(Word::is_ready)
    }

    /// It is on its way: its container is made, or its worker loads. Of others nobody here knows until when they do.
    pub(crate) fn starts(&self) -> bool {
        let loads = self.conversation.is_some() && !self.is_ready();
        !self.is_over() && (loads || matches!(self.life, Life::Creating { .. }))
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
        let ended = match status.and_then(WaitStatus::terminating_signal) {
            Some(signal) => End::Signal(signal),
            // The kernel was asked only for children that ended: one or the other is told.
            None => End::Code(status.and_then(WaitStatus::exit_status).unwrap_or(UNKNOWN_STATUS)),
        };
        self.ended_so(ended)
    }

    fn ended_so(&mut self, ended: End) -> ExitCause {
        self.life = Life::Dead;
        if self.stop_asked {
            return ExitCause::Stopped;
        }
        // Whatever its first process made of the loss of another, that was what went wrong.
        if self.exceeded_memory() {
            return ExitCause::OutOfMemory { limit_bytes: self.limits.memory.get() };
        }
        if self.has_lost_helper() {
            return ExitCause::NetworkEnded;
        }
        if self.group.process_refusals().is_ok_and(|refusals| refusals > 0) {
            return ExitCause::OutOfProcesses { limit: self.limits.pids, ended };
        }
        ended.into()
    }

    /// Where what makes its container was killed for memory, as the kernel counts before it kills, or lost a process so.
    pub(crate) fn not_created(&self, reason: String) -> ExitCause {
        match (self.stop_asked, self.exceeded_memory()) {
            (true, _) => ExitCause::Stopped,
            (false, true) => ExitCause::OutOfMemory { limit_bytes: self.limits.memory.get() },
            (false, false) => ExitCause::NotCreated { reason },
        }
    }

    /// A group whose counter cannot be read any more has not told of an excess.
    fn exceeded_memory(&self) -> bool {
        self.group.out_of_memory_kills().is_ok_and(|kills| kills > 0)
    }

    /// The alarm of a sandbox that lives, for the loop to watch.
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

    /// Ends the whole sandbox once the kernel has killed one of its processes.
    pub(crate) fn look_at_memory(&mut self, now: Instant) -> Result<(), CgroupError> {
        if self.exceeded_memory() {
            self.memory_looked_at_until = None;
            return self.group.kill();
        }
        self.memory_looked_at_until = self.memory_looked_at_until.filter(|until| now < *until);
        Ok(())
    }

    /// Forks the child that waits for the kernel to let go of the group; that can take long, and
    /// the spawner is on the way of every wake. `socket` is what clients reached it by.
    pub(crate) fn begin_removal(&mut self, socket: Option<&Path>, groups: &InstanceGroup) -> io::Result<()> {
        self.hang_up();
        self.close_ways_in();
        self.freezing_until = None;
        self.memory_looked_at_until = None;
        self.kill_at = None;
        self.group.close_memory_alarm();
        self.removals += 1;
        drop(self.take_next_server());
        let name = self.name.as_str();
        let child = fork_child(&[], || {
            if let Some(socket) = socket {
                // A socket's name that is left is removed by the next start.
                let _ = std::fs::remove_file(socket);
            }
            // Opened anew: the descriptors of ours were closed on the way here.
            match groups.open(name).map_err(SweepError::from).and_then(|group| remove_group(&group, name)) {
                Ok(()) => 0,
                Err(error) => {
                    let reason = error_chain::one_line(&error);
                    tracing::error!(sandbox = name, "removing a sandbox failed: {reason}");
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
        match self.life {
            Life::Running { pid } => {
                // A frozen process does not see a signal.
                self.thaw()?;
                self.ask_to_end(pid);
            }
            Life::Forked => {
                self.thaw()?;
                self.group.terminate()?;
            }
            Life::Creating { .. } | Life::Reaping | Life::Removing { .. } | Life::Dead => {}
        }
        self.kill_at = Some(now + grace);
        Ok(())
    }

    /// What was told to end before it could hear that: a server that had yet to join its group, or the first process of a pid
    /// namespace before it handled the signal.
    fn ask_once_more(&mut self) {
        let asked = match self.life {
            Life::Running { pid } => {
                self.ask_to_end(pid);
                Ok(())
            }
            Life::Forked => self.group.terminate(),
            Life::Creating { .. } | Life::Reaping | Life::Removing { .. } | Life::Dead => Ok(()),
        };
        if let Err(error) = asked {
            // It is killed after its grace.
            tracing::warn!(sandbox = self.name, "asking it to end failed: {}", error_chain::one_line(&error));
        }
    }

    /// Ends everything of it, its creation included.
    pub(crate) fn kill(&mut self) -> Result<(), CgroupError> {
        self.stop_asked = true;
        self.kill_unasked()
    }

    /// The same where its end is to be told as what it was.
    pub(crate) fn kill_unasked(&mut self) -> Result<(), CgroupError> {
        self.kill_at = None;
        if let Life::Forked = self.life {
            // It may have yet to join its group.
            self.kill_at = Some(Instant::now() + KILL_SERVER_EVERY);
            self.begin_to_wait(Instant::now());
        }
        self.freezing_until = None;
        self.frozen = false;
        // The first process of a pid namespace by its number too: nothing of its container outlives it, and a
        // template can leave its group for that of a server.
        if let Life::Creating { child: first, .. } | Life::Running { pid: first } = self.life {
            let _ = kill(first, Signal::SIGKILL);
        }
        self.group.kill().inspect_err(|_| self.kill_at = Some(Instant::now() + KILL_AGAIN_AFTER))
    }

    pub(crate) fn was_told_to_stop(&self) -> bool {
        self.stop_asked
    }

    pub(crate) fn kill_at(&self) -> Option<Instant> {
        self.kill_at
    }
}

/// Flag of a process that ends, from before it leaves its group on (`PF_EXITING` of the kernel's `sched.h`).
const EXITING: u32 = 0x4;

/// Whether the process ends, or has ended, and one of these is to be told.
fn is_ending_child(pid: i32, parents: &[Pid]) -> bool {
    let Ok(stat) = std::fs::read(format!("/proc/{pid}/stat")) else { return false };
    let stat = String::from_utf8_lossy(&stat);
    // Its name, which it chooses and the kernel cuts, is in parentheses; state, parent, process group, session, terminal, its foreground group
    // and the kernel's flags follow.
    let Some((_, fields)) = stat.rsplit_once(')') else { return false };
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    let flags = fields.get(6).and_then(|flags| flags.parse::<u32>().ok());
    let parent = fields.get(1).and_then(|parent| parent.parse().ok()).map(Pid::from_raw);
    flags.is_some_and(|flags| flags & EXITING != 0) && parent.is_some_and(|parent| parents.contains(&parent))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::process::{Command, Stdio};

    use rustix::process::{WaitId, WaitIdOptions, waitid};

    use super::*;

    #[test]
    fn only_a_child_that_ends_is_one_that_may_be_in_no_group() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        assert!(!is_ending_child(pid, &[Pid::this()]), "it lives");
        drop(child.stdin.take());
        let number = rustix::process::Pid::from_raw(pid).unwrap();
        waitid(WaitId::Pid(number), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).unwrap();
        assert!(is_ending_child(pid, &[Pid::this()]));
        assert!(!is_ending_child(pid, &[Pid::from_raw(1)]), "of another");
        child.wait().unwrap();
        assert!(!is_ending_child(pid, &[Pid::this()]), "it is gone");
    }
}

//! The unprivileged node process: how it is started, and the messages on their way to it.

use std::{
    collections::VecDeque,
    ffi::CString,
    fs, io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use nix::{
    sys::{
        prctl::set_no_new_privs,
        signal::{Signal, kill},
    },
    unistd::{Gid, Pid, Uid, dup2_stdin, execve, setgroups, setresgid, setresuid},
};
use rustix::{
    process::{Resource, Rlimit, getrlimit, setrlimit},
    thread::CapabilitySet,
};

use super::child::fork_child;
use crate::{
    cgroup::ReplicaGroup,
    channel::{self, Channel, ChannelError},
    messages::{Event, Request},
};

/// Events that wait for a node that does not read. A node so far behind is stuck and is replaced.
const OUTBOX_EVENTS_MAX: usize = 8_192;
/// Sockets among them: each is a descriptor of the spawner's.
const SOCKETS_UNSENT_MAX: usize = 16;
/// Processes and threads of the node's user at a time: many times what the node has, and few enough
/// that one which was taken over cannot fill the machine with them.
const NODE_TASKS_MAX: u64 = 4_096;
/// What the node inherits of the environment.
const KEPT_VARIABLES: [&str; 3] = ["RUST_LOG", "RUST_BACKTRACE", "TZ"];

/// Why a node process could not be started or may not be trusted.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    #[error("making the channel to the node process failed")]
    Channel(#[from] ChannelError),
    #[error("starting the node process failed")]
    Fork(#[source] io::Error),
    #[error(
        "the installed program speaks version {found} of the spawner's protocol, this daemon {expected}: restart the daemon"
    )]
    Version { found: u32, expected: u32 },
    #[error("the node process has more rights than it should: {0}")]
    Privileged(String),
    #[error("keeping a descriptor for the node process failed")]
    Keep(#[source] io::Error),
    #[error("the node process does not read its events")]
    Stuck,
}

/// A running node process.
#[derive(Debug)]
pub(crate) struct Node {
    pid: Pid,
    channel: Channel<Event, Request>,
    outbox: VecDeque<(Event, Option<OwnedFd>)>,
    /// It said hello: events are sent, and other requests are taken.
    pub(crate) greeted: bool,
    condemned: bool,
}

/// As whom the node runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NodeUser {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Node {
    /// Forks and executes the program anew, so that the node shares neither memory layout nor
    /// descriptors with the privileged half.
    pub(crate) fn start(program: &Path, user: NodeUser, group: &ReplicaGroup) -> Result<Self, NodeError> {
        let (ours, theirs) = channel::pair()?;
        let keep: Vec<_> = group.entrances().chain([theirs.as_fd()]).map(|fd| fd.as_raw_fd()).collect();
        let pid = fork_child(&keep, || {
            let error = become_node(program, user, group, &theirs);
            // The spawner's standard error is the node's too; the spawner sees only the exit.
            eprintln!("dormouse: starting the node process failed: {error}");
            126
        })
        .map_err(NodeError::Fork)?;
        Ok(Self {
            pid,
            channel: Channel::without_descriptors(ours),
            outbox: VecDeque::new(),
            greeted: false,
            condemned: false,
        })
    }

    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    pub(crate) fn kill(&self) {
        // It can only fail where the process ended already, which its exit tells.
        let _ = kill(self.pid, Signal::SIGKILL);
    }

    /// Kills it and hears nothing more of it; its exit is still to come.
    pub(crate) fn condemn(&mut self) {
        self.greeted = false;
        self.condemned = true;
        self.kill();
    }

    pub(crate) fn is_condemned(&self) -> bool {
        self.condemned
    }

    pub(crate) fn receive(&mut self) -> Result<Option<Request>, ChannelError> {
        Ok(self.channel.try_receive()?.map(|(request, _descriptors)| request))
    }

    /// Sends an event, or keeps it until the channel takes it.
    pub(crate) fn send(&mut self, event: Event, descriptor: Option<BorrowedFd<'_>>) -> Result<(), NodeError> {
        if self.outbox.is_empty() {
            match self.channel.try_send(&event, descriptor.as_slice()) {
                Err(ChannelError::Full) => {}
                other => return Ok(other?),
            }
        }
        if self.outbox.len() >= OUTBOX_EVENTS_MAX {
            return Err(NodeError::Stuck);
        }
        let kept = descriptor.map(|descriptor| descriptor.try_clone_to_owned()).transpose().map_err(NodeError::Keep)?;
        self.outbox.push_back((event, kept));
        Ok(())
    }

    /// The first message, which carries several descriptors; the channel is empty then.
    pub(crate) fn welcome(&self, event: &Event, descriptors: &[BorrowedFd<'_>]) -> Result<(), NodeError> {
        Ok(self.channel.try_send(event, descriptors)?)
    }

    pub(crate) fn flush(&mut self) -> Result<(), NodeError> {
        while let Some((event, descriptor)) = self.outbox.front() {
            let descriptor = descriptor.as_ref().map(AsFd::as_fd);
            match self.channel.try_send(event, descriptor.as_slice()) {
                Ok(()) => drop(self.outbox.pop_front()),
                Err(ChannelError::Full) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Whether it has to take some before there are more.
    pub(crate) fn holds_too_many_sockets(&self) -> bool {
        let unsent = self.outbox.iter().filter(|(event, _)| matches!(event, Event::Socket { .. }));
        unsent.count() >= SOCKETS_UNSENT_MAX
    }

    pub(crate) fn has_unsent(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// Reads from /proc that the process really gave everything up.
    pub(crate) fn check_rights(&self, user: NodeUser) -> Result<(), NodeError> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid))
            .map_err(|error| NodeError::Privileged(format!("its status cannot be read: {error}")))?;
        let field = |name: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(name));
            value.map(|value| value.split_whitespace().collect::<Vec<_>>().join(" ")).unwrap_or_default()
        };
        let uids = [user.uid; 4].map(|uid| uid.to_string()).join(" ");
        if field("Uid:") != uids {
            return Err(NodeError::Privileged(format!("its uids are {}", field("Uid:"))));
        }
        let gids = [user.gid; 4].map(|gid| gid.to_string()).join(" ");
        if field("Gid:") != gids || !field("Groups:").is_empty() {
            return Err(NodeError::Privileged(format!("its groups are {} {}", field("Gid:"), field("Groups:"))));
        }
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
            if field(set).bytes().any(|digit| digit != b'0') {
                return Err(NodeError::Privileged(format!("{set} {}", field(set))));
            }
        }
        if field("NoNewPrivs:") == "1" { Ok(()) } else { Err(NodeError::Privileged("no_new_privs is off".to_owned())) }
    }
}

impl AsFd for Node {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

/// Gives up every right and becomes the node; returns only where that failed.
fn become_node(program: &Path, user: NodeUser, group: &ReplicaGroup, channel: &OwnedFd) -> io::Error {
    let result = drop_rights_and_exec(program, user, group, channel);
    match result {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

/// The order matters: the group needs root, groups and the bounding set need capabilities, and
/// leaving uid 0 gives the capabilities up.
fn drop_rights_and_exec(
    program: &Path,
    user: NodeUser,
    group: &ReplicaGroup,
    channel: &OwnedFd,
) -> io::Result<std::convert::Infallible> {
    group.join_self().map_err(io::Error::other)?;
    dup2_stdin(channel)?;

    std::env::set_current_dir("/")?;
    drop_bounding_set()?;
    set_no_new_privs()?;
    limit_tasks()?;
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    setgroups(&[])?;
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)?;
    let c_string = |bytes: &[u8]| CString::new(bytes).map_err(io::Error::other);
    let kept = KEPT_VARIABLES.iter();
    #[cfg(weakened)]
    let kept = kept.chain(&[crate::defence::weakened::WEAKENED_VARIABLE]);
    let environment = kept
        .filter_map(|name| Some(format!("{name}={}", std::env::var(name).ok()?)))
        .map(|variable| c_string(variable.as_bytes()))
        .collect::<io::Result<Vec<_>>>()?;
    let program = c_string(program.as_os_str().as_bytes())?;
    Ok(execve(&program, &[c"dormouse", c"node"], &environment)?)
}

/// Lowers the limit for good: without capabilities it cannot be raised again.
fn limit_tasks() -> io::Result<()> {
    let most = getrlimit(Resource::Nproc).maximum.map_or(NODE_TASKS_MAX, |hard| hard.min(NODE_TASKS_MAX));
    Ok(setrlimit(Resource::Nproc, Rlimit { current: Some(most), maximum: Some(most) })?)
}

/// Removes every capability this kernel knows from the set that exec could give back.
fn drop_bounding_set() -> io::Result<()> {
    for bit in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // The first number past the last capability.
            Err(rustix::io::Errno::INVAL) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

//! A way out of a replica's network, where its endpoint asks for one: a program in user space (pasta or slirp4netns)
//! makes the replica's connections anew from the node. No module, no table and no interface of the node is touched.
//!
//! The helper takes in whatever a hostile process sends, so it is confined as a part of the replica: it runs in the
//! replica's control group, as a uid of the host's that owns nothing, with rights over this one network namespace alone.
//! What it must not reach is the node itself, whose services trust who comes from within: a program of the kernel's
//! drops every packet of the helper that would stay on the node ([`filter`]).

mod filter;
mod helper;
mod resolver;

use std::{
    fs::File,
    io::{self, Read, Seek},
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use nix::unistd::Pid;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::{Errno, retry_on_intr},
    process::{PidfdFlags, pidfd_open},
};

use self::helper::Helper;
pub(crate) use self::resolver::NAMESERVER;
use crate::{
    bpf::{self, BpfError},
    cgroup::{CgroupError, ReplicaGroup},
    defence::Defence,
    error_chain, userns,
};

/// How long what ends beside a helper may take.
const ALONE_WITHIN: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

/// Why a replica has no way out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EgressError {
    #[error("neither pasta nor slirp4netns is installed: install the package passt or slirp4netns")]
    NoHelper,
    #[error("{operation} failed")]
    Io {
        operation: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("{0}")]
    Helpers(String),
    #[error("keeping it from the node itself failed")]
    Filter(#[from] BpfError),
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
}

/// Where a helper runs: a group below the replica's, whose packets are looked at.
#[derive(Debug)]
pub(crate) struct Outside {
    processes: File,
}

impl Outside {
    /// While control groups can be seen and programs loaded.
    pub(crate) fn prepare(group: &ReplicaGroup) -> Result<Self, EgressError> {
        let directory = group.make_outside()?;
        if Defence::NodeOutOfReach.stands() {
            for (hook, program) in filter::programs(resolver::of_node()) {
                bpf::apply(&directory, hook, &program)?;
            }
        }
        let path = directory.join("cgroup.procs");
        let processes = File::options().read(true).write(true).open(&path);
        Ok(Self { processes: processes.map_err(failed("opening the helper's control group"))? })
    }

    /// Makes a network namespace and starts a helper that joins it to the node's. Returns once packets pass.
    /// `uid` is whose the helper is, `scratch` a directory for what it says.
    pub(crate) fn open(mut self, uid: u32, scratch: &Path) -> Result<Network, EgressError> {
        let (user, network) = userns::with_network(uid).map_err(failed("making its network namespace"))?;
        let mut reasons = Vec::new();
        for (helper, program) in Helper::installed() {
            match helper.start(&program, &self.processes, (user.as_fd(), network.as_fd()), scratch) {
                Ok(()) => return Ok(Network { namespace: network, helper: self.only_process()? }),
                Err(error) => reasons.push(format!("{helper}: {}", error_chain::one_line(&error))),
            }
        }
        if reasons.is_empty() { Err(EgressError::NoHelper) } else { Err(EgressError::Helpers(reasons.join("; "))) }
    }

    /// It puts itself into the background, and nobody else stays in there.
    fn only_process(&mut self) -> Result<Pid, EgressError> {
        let mut text = String::new();
        let read = self.processes.rewind().and_then(|()| self.processes.read_to_string(&mut text));
        read.and_then(|_| the_one_that_stays(&text)).map_err(failed("looking for the helper"))
    }
}

/// Of those that `listed` names: pasta asks about the network by children of its own that it does not wait for, and one
/// of them can be listed while it ends. Who ends is told by the kernel, and not listed anew: on v1 a list that was once
/// read is read again as it was.
fn the_one_that_stays(listed: &str) -> io::Result<Pid> {
    let mut staying = Vec::new();
    for pid in listed.lines() {
        let pid = pid.parse().ok().and_then(rustix::process::Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other(format!("`{}` is no list of processes", listed.trim())))?;
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(process) => staying.push((pid, process)),
            // The latter of one that is being reaped, before Linux 6.15.
            Err(Errno::SRCH | Errno::INVAL) => {}
            Err(error) => return Err(error.into()),
        }
    }
    while staying.len() > 1 {
        let mut ends: Vec<_> = staying.iter().map(|(_, process)| PollFd::new(process, PollFlags::IN)).collect();
        if retry_on_intr(|| poll(&mut ends, Some(&ALONE_WITHIN)))? == 0 {
            break;
        }
        let mut has_ended = ends.iter().map(|end| !end.revents().is_empty()).collect::<Vec<_>>().into_iter();
        staying.retain(|_| !has_ended.next().unwrap_or_default());
    }
    match staying.as_slice() {
        [(pid, _)] => Ok(Pid::from_raw(pid.as_raw_nonzero().get())),
        [] => Err(io::Error::other("it has ended")),
        several => Err(io::Error::other(format!("{} processes stay", several.len()))),
    }
}

/// A network with a way out.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) namespace: OwnedFd,
    pub(crate) helper: Pid,
}

fn failed(operation: &'static str) -> impl FnOnce(io::Error) -> EgressError {
    move |source| EgressError::Io { operation, source }
}

/// Where programs of a system are.
const PROGRAM_DIRECTORIES: [&str; 4] = ["/usr/local/bin", "/usr/bin", "/usr/sbin", "/bin"];

fn find_program(name: &str) -> Option<PathBuf> {
    PROGRAM_DIRECTORIES.iter().map(|directory| Path::new(directory).join(name)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// Ends when its input does.
    fn reader() -> Child {
        Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap()
    }

    #[test]
    fn a_child_that_ends_beside_the_helper_is_not_taken_for_it() {
        let (mut ending, mut staying) = (reader(), reader());
        drop(ending.stdin.take());
        let listed = format!("{}\n{}\n", ending.id(), staying.id());

        let found = the_one_that_stays(&listed).unwrap();

        assert_eq!(u32::try_from(found.as_raw()), Ok(staying.id()));
        drop(staying.stdin.take());
        ending.wait().unwrap();
        staying.wait().unwrap();
    }

    #[test]
    fn a_helper_that_has_ended_is_none() {
        let mut ended = reader();
        ended.wait().unwrap();
        let error = the_one_that_stays(&format!("{}\n", ended.id())).unwrap_err();
        assert_eq!(error.to_string(), "it has ended");
        assert_eq!(the_one_that_stays("").unwrap_err().to_string(), "it has ended");
    }
}

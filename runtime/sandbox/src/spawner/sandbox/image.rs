//! What is different for a process of an image: it has a network of its own, and ends as its image says.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    rc::Rc,
};

use dormouse_spec::StopSignal;
use nix::{libc, unistd::Pid};

use super::{Kind, Life, Sandbox};
use crate::{cgroup::CgroupError, messages::SocketKind, spawner::host_network::HostNetwork, uids::RangeLease};

#[derive(Debug)]
pub(super) struct ImageProcess {
    pub(super) stop_signal: StopSignal,
    /// From when it runs until it ended.
    pub(super) network: Option<OwnedFd>,
    /// The node's end of what gives orders to what runs its commands, until it ended; one that a new node finds as it is.
    pub(super) orders: Option<OwnedFd>,
    pub(super) helper: Helper,
    /// The host's ids of its processes: they are another's only once nothing of this is left.
    pub(super) range: Rc<RangeLease>,
}

/// What joins its network to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Helper {
    /// Nothing does, or not yet.
    None,
    Running(Pid),
    /// It ended before the process that it was for, whose connections are lost.
    Lost,
}

/// Why no socket was made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SocketError {
    #[error("it is no process of an image, and has no network")]
    NoImage,
    #[error("it does not run yet, or is about to end")]
    NotRunning,
    #[error("it was made with no commands to run")]
    NoCommands,
    #[error("duplicating the socket of its commands failed")]
    Duplicate(#[source] io::Error),
    #[error("making a socket in its network failed")]
    Make(#[source] io::Error),
}

impl Sandbox {
    /// Opens the network that was made for it. By its number: a process that ended at once may have left its own to
    /// another.
    pub(super) fn hold_network(&mut self, pid: Pid, number: Option<u64>) {
        let (Kind::Image(image), Some(number)) = (&mut self.kind, number) else { return };
        match open_network(pid, number) {
            Ok(network) => image.network = Some(network),
            // Its end is told in a moment.
            Err(error) => tracing::debug!(sandbox = self.name, "it has no network any more: {error}"),
        }
    }

    pub(super) fn watch_helper(&mut self, pid: Option<i32>) {
        if let (Kind::Image(image), Some(pid)) = (&mut self.kind, pid) {
            image.helper = Helper::Running(Pid::from_raw(pid));
        }
    }

    /// The process that joins its network to others.
    pub(crate) fn helper(&self) -> Option<Pid> {
        match &self.kind {
            Kind::Image(ImageProcess { helper: Helper::Running(pid), .. }) => Some(*pid),
            _ => None,
        }
    }

    /// It ended: what runs would wait for answers that never come, so it is ended and started anew.
    pub(crate) fn lose_helper(&mut self) -> Result<(), CgroupError> {
        let Kind::Image(image) = &mut self.kind else { return Ok(()) };
        image.helper = if self.stop_asked { Helper::None } else { Helper::Lost };
        self.kill_unasked()
    }

    pub(super) fn has_lost_helper(&self) -> bool {
        matches!(&self.kind, Kind::Image(ImageProcess { helper: Helper::Lost, .. }))
    }

    /// Nobody gets into it any more.
    pub(super) fn close_ways_in(&mut self) {
        if let Kind::Image(image) = &mut self.kind {
            (image.network, image.orders) = (None, None);
        }
    }

    /// A way into it.
    pub(crate) fn socket(&self, kind: SocketKind, host: &HostNetwork) -> Result<OwnedFd, SocketError> {
        let Kind::Image(image) = &self.kind else { return Err(SocketError::NoImage) };
        let runs = matches!(self.life, Life::Running { .. }) && !self.stop_asked;
        let network = image.network.as_ref().filter(|_| runs).ok_or(SocketError::NotRunning)?;
        match kind {
            SocketKind::Network => host.socket_in(network.as_fd()).map_err(SocketError::Make),
            SocketKind::Orders => {
                image.orders.as_ref().ok_or(SocketError::NoCommands)?.try_clone().map_err(SocketError::Duplicate)
            }
        }
    }

    /// Its processes' ids, for where they may go on.
    pub(crate) fn range(&self) -> Option<Rc<RangeLease>> {
        match &self.kind {
            Kind::Image(image) => Some(Rc::clone(&image.range)),
            Kind::Worker | Kind::Template { .. } | Kind::Server { .. } => None,
        }
    }

    /// Sends its first process the signal to end by. It can only fail where that has ended, which is about to be told.
    pub(super) fn ask_to_end(&self, pid: Pid) {
        let signal = match &self.kind {
            Kind::Image(image) => image.stop_signal,
            Kind::Worker | Kind::Template { .. } | Kind::Server { .. } => StopSignal::TERM,
        };
        // SAFETY: no memory is passed. The number is of a child of this process, which alone takes its status.
        unsafe { libc::kill(pid.as_raw(), signal.number().into()) };
    }
}

fn open_network(pid: Pid, number: u64) -> io::Result<OwnedFd> {
    let network = File::open(format!("/proc/{pid}/ns/net"))?;
    if network.metadata()?.ino() == number {
        return Ok(network.into());
    }
    Err(io::Error::other("a process of its number has another network"))
}

//! Signals as one more descriptor to poll.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
};

use nix::sys::{
    signal::{SigSet, Signal},
    signalfd::{SfdFlags, SignalFd},
};

/// What a signal asks of the spawner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// A child ended, or several.
    ChildEnded,
    /// SIGTERM, SIGINT or SIGHUP.
    End,
}

/// The signals the spawner acts on, blocked for its whole life.
#[derive(Debug)]
pub(crate) struct Signals(SignalFd);

impl Signals {
    pub(crate) fn block() -> io::Result<Self> {
        let mut set = SigSet::empty();
        for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
            set.add(signal);
        }
        set.thread_block()?;
        Ok(Self(SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?))
    }

    /// The next signal that waits, if any.
    pub(crate) fn next(&mut self) -> io::Result<Option<Told>> {
        let Some(info) = self.0.read_signal()? else { return Ok(None) };
        let child = i32::try_from(info.ssi_signo) == Ok(Signal::SIGCHLD as i32);
        Ok(Some(if child { Told::ChildEnded } else { Told::End }))
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

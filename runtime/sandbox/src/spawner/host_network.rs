//! Sockets in networks of replicas, made by going there and coming back.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use nix::sched::{CloneFlags, setns};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

/// The network that the daemon is in.
#[derive(Debug)]
pub(crate) struct HostNetwork {
    own: OwnedFd,
}

impl HostNetwork {
    pub(crate) fn open() -> io::Result<Self> {
        Ok(Self { own: File::open("/proc/self/ns/net")?.into() })
    }

    /// A TCP socket in `network`. It stays there, wherever it is sent. This process has one thread, and nothing
    /// happens in between.
    pub(crate) fn socket_in(&self, network: BorrowedFd<'_>) -> io::Result<OwnedFd> {
        setns(network, CloneFlags::CLONE_NEWNET)?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let made = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None);
        if let Err(error) = setns(self.own.as_fd(), CloneFlags::CLONE_NEWNET) {
            // Whatever it did next would be done in the wrong place.
            tracing::error!("the daemon cannot come back from the network of a replica and ends: {error}");
            std::process::abort();
        }
        Ok(made?)
    }
}

//! What a template is told to do: to fork a server, and to wait for the end of one; and what a server is told: to serve.
//!
//! The template is the parent of its servers, as the first process of their pid namespace, and nobody
//! else can wait for them. It is told when, so that it needs no signal and waits in one place only.

use std::os::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    unix::net::UnixListener,
};

use serde::{Deserialize, Serialize};

use crate::{
    cgroup::ReplicaGroup,
    channel::{self, ChannelError},
};

/// Names a server between the spawner and its template; never used twice by one daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct ServerNumber(pub(crate) u64);

#[derive(Debug, Serialize)]
#[serde(tag = "order", rename_all = "kebab-case")]
enum Order {
    Fork { server: ServerNumber },
    Reap { server: ServerNumber },
    Serve,
}

/// What a server is given to serve with.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) listener: UnixListener,
    /// The writing end.
    pub(super) log: OwnedFd,
}

/// Has `template` fork a server, which waits on `control`, of which the template keeps nothing.
pub(super) fn fork(template: BorrowedFd<'_>, server: ServerNumber, control: &OwnedFd) -> Result<(), ChannelError> {
    channel::send(template, &Order::Fork { server }, &[control.as_fd()])
}

/// Has a server join `group` by itself, and serve.
pub(super) fn serve(server: BorrowedFd<'_>, given: &Given, group: &ReplicaGroup) -> Result<(), ChannelError> {
    let own = [given.listener.as_fd(), given.log.as_fd()];
    let descriptors: Vec<_> = own.into_iter().chain(group.entrances()).collect();
    channel::send(server, &Order::Serve, &descriptors)
}

/// Has `template` wait for a server whose processes were all killed.
pub(super) fn reap(template: BorrowedFd<'_>, server: ServerNumber) -> Result<(), ChannelError> {
    channel::send(template, &Order::Reap { server }, &[])
}

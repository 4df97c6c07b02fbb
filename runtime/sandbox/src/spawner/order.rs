//! What a template is told to do: to fork a server, and to wait for the end of one.
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
}

/// What a server is given by its template, which keeps none of it.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) listener: UnixListener,
    /// The writing end.
    pub(super) log: OwnedFd,
    /// The worker's end.
    pub(super) control: OwnedFd,
}

/// Has `template` fork a server, which joins `group` by itself.
pub(super) fn fork(
    template: BorrowedFd<'_>,
    server: ServerNumber,
    given: &Given,
    group: &ReplicaGroup,
) -> Result<(), ChannelError> {
    let own = [given.listener.as_fd(), given.log.as_fd(), given.control.as_fd()];
    let descriptors: Vec<_> = own.into_iter().chain(group.entrances()).collect();
    channel::send(template, &Order::Fork { server }, &descriptors)
}

/// Has `template` wait for a server whose processes were all killed.
pub(super) fn reap(template: BorrowedFd<'_>, server: ServerNumber) -> Result<(), ChannelError> {
    channel::send(template, &Order::Reap { server }, &[])
}

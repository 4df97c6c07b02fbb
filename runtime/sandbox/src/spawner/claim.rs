//! Making a replica of a blank.

use std::os::{fd::AsFd, unix::net::UnixListener};

use super::{
    assignment::{self, Assignment, Sources},
    listeners::{ListenError, listen_unix},
    sandbox::{Sandbox, Workshop},
};
use crate::{cgroup::CgroupError, channel::ChannelError, messages::ReplicaSpec};

/// Why a blank could not become a replica.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClaimError {
    #[error("its limits could not be changed")]
    Limits(#[from] CgroupError),
    #[error("it could not be told its assignment")]
    Tell(#[from] ChannelError),
}

/// What a blank is given: all but the blank itself.
#[derive(Debug)]
pub(super) struct Claiming {
    listener: UnixListener,
    sources: Sources,
    assignment: Assignment,
}

impl Claiming {
    /// `None` where the model cannot be handed over by descriptors; then it has to be mounted.
    pub(super) fn prepare(workshop: &Workshop<'_>, spec: &ReplicaSpec) -> Result<Option<Self>, ListenError> {
        let Some(payload) = spec.payload.model() else { return Ok(None) };
        let Some(sources) = Sources::by_descriptor(workshop, &spec.replica, payload) else { return Ok(None) };
        let listener = listen_unix(&workshop.instance.socket_of(spec.replica.as_str()), workshop.node_gid)?;
        let assignment = Assignment::of(&spec.replica, payload, spec.concurrency, &sources);
        Ok(Some(Self { listener, sources, assignment }))
    }

    /// The limits first: what the worker does from its assignment on is the replica's.
    pub(super) fn assign(&self, blank: &mut Sandbox, spec: &ReplicaSpec) -> Result<(), ClaimError> {
        blank.set_limits(&spec.limits)?;
        let channel = blank.channel().ok_or(ChannelError::Closed)?;
        Ok(assignment::send(channel, &self.assignment, Some(self.listener.as_fd()), &self.sources)?)
    }
}

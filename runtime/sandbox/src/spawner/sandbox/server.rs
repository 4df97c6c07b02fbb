//! Servers: forks of a template, in its container, each in a control group of its own.
//!
//! The spawner is not their parent. That one ended is learnt from the end of its control channel, of
//! which it holds the only other end; how, from its template, which is asked once nothing of the server
//! can run any more.

use std::{
    os::fd::{AsFd, BorrowedFd},
    os::unix::net::UnixListener,
    time::{Duration, Instant},
};

use super::{
    BeginError, Kind, Life, Patience, Plan, Sandbox, Workshop,
    begin::{Begun, control_channel, log_pipe},
};
use crate::{
    cgroup::CgroupError,
    channel::ChannelError,
    defence::Defence,
    devices::WORKER_DEVICES,
    error_chain,
    messages::{End, ExitCause, ReplicaId},
    spawner::{
        order::{self, Given, ServerNumber},
        word::{Said, Word},
    },
    verification,
};

/// A server that was killed is gone at once, and its template answers at once how it ended. Where they do
/// not, the server is not in its group, or the template is stuck; then that is ended.
const PATIENCE: Duration = Duration::from_secs(1);

impl Sandbox {
    /// Makes a control group and has `template` fork a server that joins it. The limits and the device
    /// policy are in force before there is a process to hold to them.
    pub(crate) fn fork(
        workshop: &Workshop<'_>,
        plan: &Plan<'_>,
        (id, template): (&ReplicaId, &Self),
        number: ServerNumber,
        listener: UnixListener,
    ) -> Result<Self, BeginError> {
        let kind = Kind::Server { template: id.clone(), number, patience: Patience::Unneeded };
        let group = workshop.groups.create(plan.name, &plan.limits)?;
        Self::of(kind, plan, group, |group| {
            if Defence::DevicePolicy.stands() {
                group.set_device_policy(&WORKER_DEVICES)?;
            }
            let (control, workers) = control_channel()?;
            let (log, writer) = log_pipe()?;
            let given = Given { listener, log: writer, control: workers };
            order::fork(template.channel().ok_or(ChannelError::Closed)?, number, &given, group)?;
            // That it is there was said for it, by its template.
            Ok(Begun { life: Life::Forked, control, word: Word::Blank, log })
        })
    }

    /// Whether servers can be forked of it.
    pub(crate) fn is_template(&self) -> bool {
        self.kind == Kind::Template && self.is_ready() && !self.is_over() && !self.stop_asked && !self.frozen
    }

    /// Whether it is for servers to be forked of it, at whatever point of its life.
    pub(crate) fn forks(&self) -> bool {
        self.kind == Kind::Template
    }

    /// The template that it is a fork of.
    pub(crate) fn template(&self) -> Option<&ReplicaId> {
        match &self.kind {
            Kind::Server { template, .. } => Some(template),
            Kind::Worker | Kind::Template => None,
        }
    }

    /// The channel of a server that has said all it has to say: its end is that of the server.
    pub(crate) fn lifeline(&self) -> Option<BorrowedFd<'_>> {
        let is_silent = matches!(self.life, Life::Forked) && self.awaited_channel().is_none();
        self.control.as_ref().filter(|_| is_silent).map(AsFd::as_fd)
    }

    /// What a server said, once the kernel agrees from outside: what serves is confined, and in the group
    /// that it was to join.
    pub(super) fn checked(&mut self, said: Said) -> Said {
        let (Kind::Server { .. }, Said::Ready(_)) = (&self.kind, &said) else { return said };
        if !Defence::RealProc.stands() {
            return said;
        }
        let checked = self.group.only_process().map_err(|error| error_chain::one_line(&error)).and_then(|process| {
            let pid = process.ok_or_else(|| "it did not join its control group".to_owned())?;
            verification::of_server(pid, self.uid, self.group.path()).map_err(|error| error_chain::one_line(&error))
        });
        match checked {
            Ok(()) => said,
            Err(reason) => {
                if let Err(error) = self.kill_unasked() {
                    tracing::error!(sandbox = self.name, "killing it failed: {}", error_chain::one_line(&error));
                }
                Said::LoadFailed(reason)
            }
        }
    }

    /// A server ended, or closed its channel, which is as good. Nothing of it runs after this, and its
    /// template is to be asked how it ended: here is by which number.
    pub(crate) fn begin_reaping(&mut self, now: Instant) -> Result<Option<ServerNumber>, CgroupError> {
        // Its template's end may have been its own in the same turn.
        let (Kind::Server { number, .. }, Life::Forked) = (&self.kind, &self.life) else { return Ok(None) };
        let number = *number;
        self.life = Life::Reaping;
        self.control = None;
        self.begin_to_wait(now);
        self.kill_unasked()?;
        Ok(Some(number))
    }

    /// Whether this is the server that its template told the end of.
    pub(crate) fn is_reaped_as(&self, of: &ReplicaId, server: ServerNumber) -> bool {
        let is_it = matches!(&self.kind, Kind::Server { template, number, .. } if template == of && *number == server);
        is_it && matches!(self.life, Life::Reaping)
    }

    pub(super) fn begin_to_wait(&mut self, now: Instant) {
        if let Kind::Server { patience: patience @ Patience::Unneeded, .. } = &mut self.kind {
            *patience = Patience::Until(now + PATIENCE);
        }
    }

    /// When its template is given up, for want of the end of this server.
    pub(crate) fn waits_until(&self) -> Option<Instant> {
        match self.kind {
            Kind::Server { patience: Patience::Until(until), .. } if !self.is_over() => Some(until),
            _ => None,
        }
    }

    /// Its template is being ended.
    pub(crate) fn wait_no_more(&mut self) {
        if let Kind::Server { patience, .. } = &mut self.kind {
            *patience = Patience::Over;
        }
    }

    /// Has a template tell how one of its servers ended.
    pub(crate) fn reap(&self, server: ServerNumber) -> Result<(), ChannelError> {
        order::reap(self.channel().ok_or(ChannelError::Closed)?, server)
    }

    /// No process of a server is left. `how` as its template told, which may know of none.
    pub(crate) fn server_ended(&mut self, how: Option<End>) -> ExitCause {
        self.ended_so(how.unwrap_or(End::Code(super::UNKNOWN_STATUS)))
    }

    /// Its template ended, and with it, by their pid namespace, every server.
    pub(crate) fn template_ended(&mut self) -> ExitCause {
        match self.server_ended(None) {
            told @ (ExitCause::Stopped | ExitCause::OutOfMemory { .. }) => told,
            _ => ExitCause::TemplateEnded,
        }
    }
}

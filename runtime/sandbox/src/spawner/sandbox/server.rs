//! Servers: forks of a template, in its container, each in a control group of its own.
//!
//! One is forked ahead and waits, since a fork and a control group take longer than the rest of a wake.
//!
//! The spawner is not their parent. That one ended is learnt from the end of its control channel, of
//! which it holds the only other end; how, from its template, which is asked once nothing of the server
//! can run any more.

use std::{
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixListener,
    },
    time::{Duration, Instant},
};

use dormouse_spec::Limits;
use rustix::{io::Errno, net::RecvFlags};

use super::{
    BeginError, Conversation, Kind, Life, Patience, Sandbox,
    begin::{Begun, Common, control_channel, log_pipe},
};
use crate::{
    cgroup::{CgroupError, InstanceGroup, ReplicaGroup},
    channel::ChannelError,
    defence::Defence,
    devices::WORKER_DEVICES,
    error_chain,
    messages::{End, ExitCause, Premade, ReplicaId},
    spawner::{
        order::{self, Given, ServerNumber},
        word::{Said, Word},
    },
    verification,
};

/// A server that was killed is gone at once, and its template answers at once how it ended. Where they do
/// not, the server is not in its group, or the template is stuck; then that is ended.
const PATIENCE: Duration = Duration::from_secs(3);

/// Most servers that a template is asked for the end of though they never served. One that answers none of it is not
/// asked for more servers.
const DISCARDED_MAX: usize = 16;

/// A server that was forked before anybody wanted it: it waits, in its template's control group, to be told what to
/// serve. The group that it joins then is there already, with its limits and device policy in force. A server that is
/// dropped with this value ends, as its channel does, and its group is removed.
#[derive(Debug)]
pub(crate) struct NextServer {
    number: ServerNumber,
    name: String,
    /// None once it is a server's.
    group: Option<ReplicaGroup>,
    control: Option<OwnedFd>,
}

impl NextServer {
    /// Has the template at the other end of `channel` fork it.
    fn begin(
        groups: &InstanceGroup,
        number: ServerNumber,
        limits: &Limits,
        channel: BorrowedFd<'_>,
    ) -> Result<Self, BeginError> {
        let name = Premade::Fork(number.0).name();
        let mut group = groups.create(&name, limits)?;
        // They are many, and nobody knows for how long they are not needed.
        group.close_entrance();
        let mut next = Self { number, name, group: Some(group), control: None };
        if let (Some(group), true) = (&next.group, Defence::DevicePolicy.stands()) {
            group.set_device_policy(&WORKER_DEVICES)?;
        }
        let (control, servers) = control_channel()?;
        order::fork(channel, number, &servers)?;
        next.control = Some(control);
        Ok(next)
    }

    pub(crate) fn number(&self) -> ServerNumber {
        self.number
    }

    /// Whether it waits, as far as can be told: one that ended closed its channel, and one that could not be forked or
    /// cannot start has said so there.
    fn waits(&self) -> bool {
        let Some(control) = &self.control else { return false };
        let looked = rustix::net::recv(control, &mut [0], RecvFlags::PEEK | RecvFlags::DONTWAIT);
        looked.is_err_and(|error| error == Errno::AGAIN)
    }

    /// Its control group, for it to join, and its channel.
    fn open(&mut self) -> Result<(ReplicaGroup, OwnedFd), BeginError> {
        if let Some(group) = &mut self.group {
            group.open_entrance()?;
        }
        let group = self.group.take().ok_or_else(|| CgroupError::EntranceClosed(self.name.clone().into()))?;
        Ok((group, self.control.take().ok_or(ChannelError::Closed)?))
    }
}

impl Drop for NextServer {
    /// No process was ever in the group, so the kernel lets go of it at once.
    fn drop(&mut self) {
        if let Some(Err(error)) = self.group.take().map(|group| group.remove()) {
            let reason = error_chain::one_line(&error);
            tracing::error!("a control group is left for the next start to remove: {reason}");
        }
    }
}

impl Sandbox {
    /// Has `next`, which was forked of the template `id`, serve.
    pub(crate) fn serve(
        (id, template): (&ReplicaId, &Self),
        next: &mut NextServer,
        listener: UnixListener,
    ) -> Result<Self, BeginError> {
        let number = next.number;
        let (group, control) = next.open()?;
        let plan = Common { name: &next.name, uid: template.uid, limits: template.limits };
        let kind = Kind::Server { template: id.clone(), number, patience: Patience::Unneeded };
        Self::of(kind, &plan, group, |group| {
            let (log, writer) = log_pipe()?;
            order::serve(control.as_fd(), &Given { listener, log: writer }, group)?;
            // That it is there was said for it, by its template.
            let conversation = Some(Conversation { control: Some(control), word: Word::Blank });
            Ok(Begun { life: Life::Forked, conversation, log })
        })
    }

    /// Whether servers can be forked of it.
    pub(crate) fn is_template(&self) -> bool {
        let answers = match &self.kind {
            Kind::Template { discarded, .. } => discarded.len() < DISCARDED_MAX,
            Kind::Worker | Kind::Server { .. } | Kind::Image(_) => false,
        };
        answers && self.is_ready() && !self.is_over() && !self.stop_asked && !self.frozen
    }

    /// Whether it is for servers to be forked of it, at whatever point of its life.
    pub(crate) fn forks(&self) -> bool {
        matches!(self.kind, Kind::Template { .. })
    }

    /// Whether a server is to be forked of it before one is wanted.
    pub(crate) fn misses_next_server(&self) -> bool {
        self.is_template() && matches!(self.kind, Kind::Template { next: None, .. })
    }

    /// Forks one ahead.
    pub(crate) fn begin_next_server(&mut self, groups: &InstanceGroup, number: ServerNumber) -> Result<(), BeginError> {
        let begun = self.begin_server(groups, number)?;
        if let Kind::Template { next, .. } = &mut self.kind {
            *next = Some(begun);
        }
        Ok(())
    }

    fn begin_server(&self, groups: &InstanceGroup, number: ServerNumber) -> Result<NextServer, BeginError> {
        NextServer::begin(groups, number, &self.limits, self.channel().ok_or(ChannelError::Closed)?)
    }

    /// The server that waits, or else one that is forked now and is called `number`.
    pub(crate) fn next_server(
        &mut self,
        groups: &InstanceGroup,
        number: ServerNumber,
    ) -> Result<NextServer, BeginError> {
        match self.take_next_server() {
            Some(next) if next.waits() => Ok(next),
            Some(ended) => {
                self.discard_server(ended);
                self.begin_server(groups, number)
            }
            None => self.begin_server(groups, number),
        }
    }

    /// One that will not serve. Its end is its template's to learn, so that nothing is left of it.
    pub(crate) fn discard_server(&mut self, server: NextServer) {
        let number = server.number;
        // It ends with its channel.
        drop(server);
        if let Kind::Template { discarded, .. } = &mut self.kind {
            discarded.insert(number);
            // Where it cannot be told, the template is gone, and the server with it.
            let _ = self.reap(number);
        }
    }

    /// Whether its template told the end of one that was discarded.
    pub(crate) fn forget_discarded(&mut self, server: ServerNumber) -> bool {
        match &mut self.kind {
            Kind::Template { discarded, .. } => discarded.remove(&server),
            Kind::Worker | Kind::Server { .. } | Kind::Image(_) => false,
        }
    }

    /// Of a template, the server that waits.
    pub(super) fn take_next_server(&mut self) -> Option<NextServer> {
        match &mut self.kind {
            Kind::Template { next, .. } => next.take(),
            Kind::Worker | Kind::Server { .. } | Kind::Image(_) => None,
        }
    }

    /// The template that it is a fork of.
    pub(crate) fn template(&self) -> Option<&ReplicaId> {
        match &self.kind {
            Kind::Server { template, .. } => Some(template),
            Kind::Worker | Kind::Template { .. } | Kind::Image(_) => None,
        }
    }

    /// The channel of a server that has said all it has to say: its end is that of the server.
    pub(crate) fn lifeline(&self) -> Option<BorrowedFd<'_>> {
        let is_silent = matches!(self.life, Life::Forked) && self.awaited_channel().is_none();
        self.channel().filter(|_| is_silent)
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
        self.hang_up();
        self.begin_to_wait_anew(now);
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

    /// Its template is asked only now, however long the server took to end.
    fn begin_to_wait_anew(&mut self, now: Instant) {
        if let Kind::Server { patience: patience @ (Patience::Unneeded | Patience::Until(_)), .. } = &mut self.kind {
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

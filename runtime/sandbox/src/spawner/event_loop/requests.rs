//! What the node may ask. It is untrusted: a request that does not fit is refused, never obeyed in
//! part, and none of them names anything outside this daemon.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::{AsFd, OwnedFd},
    rc::Rc,
    time::{Duration, Instant},
};

use dormouse_spec::{Bytes, Digest, EndpointName, Network};

use super::{Loop, slow_turn};
use crate::{
    error_chain,
    messages::{Event, ExitCause, Fork, Origin, PROTOCOL_VERSION, Payload, ReplicaId, ReplicaSpec, SocketKind, Work},
    spawner::{
        listeners::ListenError,
        node::{Node, NodeError},
        order::ServerNumber,
        policy::PolicyError,
        replica::Replica,
        sandbox::{BeginError, Sandbox},
    },
    uids::UidError,
};

const NO_SUCH_REPLICA: &str = "there is no such replica";

/// Why a replica is not begun.
#[derive(Debug, thiserror::Error)]
enum CreateError {
    #[error("a replica of this id exists")]
    Exists,
    #[error("the daemon is ending")]
    Ending,
    #[error("the daemon holds {0} replicas already, as many as its limit of open files is for")]
    TooMany(usize),
    #[error("there is no template of these settings that is ready to be forked")]
    NoTemplate,
    #[error("the node's policy does not allow it")]
    Policy(#[from] PolicyError),
    #[error("layer {0} is not unpacked, or is being removed")]
    NoLayer(Digest),
    #[error(transparent)]
    Uid(#[from] UidError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    Begin(#[from] BeginError),
}

impl Loop<'_> {
    /// The node's first message: check who speaks, then tell it all there is.
    pub(super) fn on_hello(&mut self, version: u32) {
        match self.welcome(version) {
            Ok(()) => self.start_companion(),
            Err(error) => {
                tracing::error!("the node process is not accepted: {}", error_chain::one_line(&error));
                self.drop_node();
            }
        }
    }

    fn welcome(&mut self, version: u32) -> Result<(), NodeError> {
        let Some(node) = self.node.as_mut() else { return Ok(()) };
        if version != PROTOCOL_VERSION {
            return Err(NodeError::Version { found: version, expected: PROTOCOL_VERSION });
        }
        node.check_rights(self.spawner.node_user)?;
        let (listeners, descriptors): (Vec<_>, Vec<_>) = self.spawner.listeners.all().into_iter().unzip();
        let welcome = Event::Welcome {
            version: PROTOCOL_VERSION,
            instance: self.spawner.instance.id().to_owned(),
            settings: self.spawner.settings.node_settings.clone(),
            listeners,
            image_ids: self.image_ranges.mode(),
        };
        node.welcome(&welcome, &descriptors)?;
        for replica in self.replicas.values() {
            node.send(Event::Adopt(Box::new(replica.report())), Some(replica.sandbox.log()))?;
        }
        self.pool.told_nothing();
        node.send(Event::Synced, None)?;
        if let Some(slow_turn) = slow_turn(self.longest_turn) {
            node.send(slow_turn, None)?;
        }
        node.greeted = true;
        if self.ending.has_begun() {
            node.send(Event::Drain, None)?;
        }
        Ok(())
    }

    pub(super) fn on_create(&mut self, spec: ReplicaSpec) {
        let id = spec.replica.clone();
        match self.create(spec) {
            Ok((replica, origin)) => {
                self.replicas.insert(id.clone(), replica);
                if let Some(origin) = origin {
                    // First, so that nobody who hears of the replica counts its blank.
                    self.tell_blanks();
                    self.tell_created(&id, origin);
                }
            }
            Err(CreateError::Exists) => self.refuse(Some(id), &CreateError::Exists.to_string()),
            Err(error) => {
                let reason = error_chain::one_line(&error);
                // It may have been made before what failed; nothing of the replica is to be left.
                let _ = std::fs::remove_file(self.spawner.instance.socket_of(id.as_str()));
                self.tell(Event::Exited { replica: id.clone(), cause: ExitCause::NotCreated { reason } }, None);
                self.tell(Event::Removed { replica: id }, None);
            }
        }
    }

    /// Has its template fork it, or makes it of a blank where one suits; either is told at once. Else
    /// begins a sandbox for it.
    fn create(&mut self, spec: ReplicaSpec) -> Result<(Replica, Option<Origin>), CreateError> {
        let asked = Instant::now();
        if self.replicas.contains_key(&spec.replica) {
            return Err(CreateError::Exists);
        }
        if self.ending.is_stopping() {
            return Err(CreateError::Ending);
        }
        #[cfg(all(weakened, not(test)))]
        crate::defence::weakened::remember_sysctl(&spec.sysctl);
        self.spawner.settings.policy.admit(&spec, self.memory_held())?;
        self.forgotten.remove(spec.replica.endpoint());
        if let Some((replica, claim)) = self.claim(&spec, asked)? {
            return Ok((replica, Some(Origin::Claimed(claim))));
        }
        if self.replicas.len() + self.pool.blanks.len() >= self.spawner.replicas_max {
            return Err(CreateError::TooMany(self.spawner.replicas_max));
        }
        if let Some(Work::Fork { template }) = spec.work() {
            let template = template.clone();
            let (replica, fork) = self.fork(spec, &template)?;
            let order_us = u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX);
            return Ok((replica, Some(Origin::Forked(Fork { fork, order_us }))));
        }
        let workshop = self.workshop();
        let sandbox = match &spec.payload {
            Payload::Model(payload) => {
                let uid = self.uid_of(spec.replica.endpoint())?;
                Replica::begin_worker(&workshop, &spec, payload, uid)?
            }
            Payload::Image(payload) => {
                if let Some(missing) = payload.layers.iter().find(|layer| !self.layers.can_be_used(layer)) {
                    return Err(CreateError::NoLayer(*missing));
                }
                let range = Rc::new(self.image_ranges.take()?);
                let helper_uid = match payload.network {
                    Network::None => None,
                    Network::Egress => Some(self.uid_of(spec.replica.endpoint())?),
                };
                Replica::begin_image(&workshop, &spec, payload, &range, helper_uid)?
            }
        };
        Ok((Replica::of(spec, sandbox, None), None))
    }

    /// As whom the endpoint's workers run, or who joins its images' networks to others.
    fn uid_of(&mut self, endpoint: &EndpointName) -> Result<u32, UidError> {
        let in_use = endpoints_in_use(&self.replicas, &self.unremoved);
        self.uids.assign(endpoint, |other| in_use.contains(other))
    }

    /// As the server that was forked ahead, where one was.
    fn fork(&mut self, spec: ReplicaSpec, template: &ReplicaId) -> Result<(Replica, u64), CreateError> {
        let workshop = self.workshop();
        let number = self.next_server();
        let found = self.replicas.get_mut(template).filter(|it| it.is_template_of(&spec));
        let template = found.ok_or(CreateError::NoTemplate)?;
        let (replica, ServerNumber(fork)) = Replica::fork(&workshop, spec, template, number)?;
        Ok((replica, fork))
    }

    /// The declared limits of every replica that something is left of.
    fn memory_held(&self) -> Bytes {
        let each = self.replicas.values().map(|replica| replica.spec.limits.memory);
        each.fold(Bytes::default(), Bytes::saturating_add)
    }

    /// One of its network the node connects, and asks for the next one when it needs it.
    pub(super) fn on_socket(&mut self, id: ReplicaId, kind: SocketKind) {
        match self.socket(&id, kind) {
            Ok(socket) => self.tell(Event::Socket { replica: id, kind }, Some(socket.as_fd())),
            Err(reason) => self.tell(Event::NoSocket { replica: id, kind, reason }, None),
        }
    }

    fn socket(&self, id: &ReplicaId, kind: SocketKind) -> Result<OwnedFd, String> {
        if self.node.as_ref().is_some_and(Node::holds_too_many_sockets) {
            return Err("too many sockets wait for the node to take them".to_owned());
        }
        let living = self.replicas.get(id).filter(|replica| !replica.sandbox.is_over());
        let sandbox = &living.ok_or_else(|| NO_SUCH_REPLICA.to_owned())?.sandbox;
        sandbox.socket(kind, &self.spawner.network).map_err(|error| error_chain::one_line(&error))
    }

    pub(super) fn on_freeze(&mut self, id: ReplicaId) {
        let Some(sandbox) = self.living(&id) else { return };
        let freeze = sandbox.freeze(Instant::now());
        self.tell_freeze(id, freeze);
    }

    pub(super) fn on_thaw(&mut self, id: ReplicaId) {
        let Some(sandbox) = self.living(&id) else { return };
        match sandbox.thaw() {
            Ok(()) => self.tell(Event::Thawed { replica: id, cause: None }, None),
            Err(error) => self.refuse(Some(id), &error_chain::one_line(&error)),
        }
    }

    pub(super) fn on_stop(&mut self, id: ReplicaId, grace: Duration) {
        let Some(sandbox) = self.living(&id) else { return };
        let is_killed_template = grace.is_zero() && sandbox.forks();
        match sandbox.stop(Instant::now(), grace) {
            Ok(()) if is_killed_template => self.on_template_gone(&id),
            Ok(()) => {}
            Err(error) => self.refuse(Some(id), &error_chain::one_line(&error)),
        }
    }

    /// That of a replica which may still be acted on; where there is none the node is told.
    fn living(&mut self, id: &ReplicaId) -> Option<&mut Sandbox> {
        if self.replicas.get(id).is_none_or(|replica| replica.sandbox.is_over()) {
            self.refuse(Some(id.clone()), NO_SUCH_REPLICA);
        }
        self.replicas.get_mut(id).map(|replica| &mut replica.sandbox).filter(|sandbox| !sandbox.is_over())
    }

    /// Only endpoints in use stay among the forgotten, so those are no more than replicas.
    pub(super) fn on_forget(&mut self, endpoint: EndpointName) {
        self.forgotten.insert(endpoint);
        self.release_forgotten();
    }

    /// Gives back the uid of every forgotten endpoint that no replica is left of.
    pub(super) fn release_forgotten(&mut self) {
        let in_use = endpoints_in_use(&self.replicas, &self.unremoved);
        let free: Vec<EndpointName> =
            self.forgotten.iter().filter(|endpoint| !in_use.contains(endpoint)).cloned().collect();
        self.forgotten.retain(|endpoint| !free.contains(endpoint));
        self.uids.release(&free);
    }

    pub(super) fn refuse(&mut self, replica: Option<ReplicaId>, reason: &str) {
        self.tell(Event::Refused { replica, reason: reason.to_owned() }, None);
    }
}

/// Endpoints as whose uid a process may still run.
fn endpoints_in_use<'a>(
    replicas: &'a BTreeMap<ReplicaId, Replica>,
    unremoved: &'a BTreeSet<EndpointName>,
) -> BTreeSet<&'a EndpointName> {
    replicas.keys().map(ReplicaId::endpoint).chain(unremoved).collect()
}

//! One replica in the spawner's table.

use std::time::{SystemTime, UNIX_EPOCH};

use super::{
    assignment::{self, Assignment, Sources},
    listeners::listen_unix,
    sandbox::{BeginError, Plan, Sandbox, Workshop},
};
use crate::messages::{ReplicaReport, ReplicaSpec, ReplicaState};

#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) spec: ReplicaSpec,
    pub(crate) sandbox: Sandbox,
    started_at_ms: u64,
}

impl Replica {
    /// Begins a sandbox for it, with its model mounted and its assignment waiting.
    pub(crate) fn begin(workshop: &Workshop<'_>, spec: ReplicaSpec, uid: u32) -> Result<Self, BeginError> {
        // The worker's copy of the listener is soon the only one: when it dies, the kernel refuses
        // what waits.
        let listener = listen_unix(&workshop.instance.socket_of(spec.replica.as_str()), workshop.node_gid)?;
        let sources = Sources::mounted(workshop, &spec);
        let assignment = Assignment::of(&spec, &sources);
        let plan = Plan { name: spec.replica.as_str(), uid, limits: spec.limits, model: Some(&spec.model) };
        let sandbox =
            Sandbox::begin(workshop, plan, |channel| assignment::send(channel, &assignment, &listener, &sources))?;
        Ok(Self::of(spec, sandbox))
    }

    /// A replica that `sandbox` was told to be.
    pub(super) fn of(spec: ReplicaSpec, sandbox: Sandbox) -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let started_at_ms = u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX);
        Self { spec, sandbox, started_at_ms }
    }

    pub(crate) fn started_at_ms(&self) -> u64 {
        self.started_at_ms
    }

    /// As a restarted node is told.
    pub(crate) fn report(&self) -> ReplicaReport {
        let state = if self.sandbox.is_over() || self.sandbox.was_told_to_stop() {
            ReplicaState::Stopping
        } else if self.sandbox.is_frozen() {
            ReplicaState::Frozen
        } else if self.sandbox.is_ready() {
            ReplicaState::Ready
        } else {
            ReplicaState::Starting
        };
        ReplicaReport { spec: self.spec.clone(), state, started_at_ms: self.started_at_ms }
    }
}

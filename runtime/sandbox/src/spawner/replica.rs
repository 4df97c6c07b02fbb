//! One replica in the spawner's table.

use std::{
    os::{fd::AsFd, unix::net::UnixListener},
    rc::Rc,
    time::{SystemTime, UNIX_EPOCH},
};

use super::{
    assignment::{self, Assignment, Sources},
    listeners::{ListenError, listen_unix},
    order::ServerNumber,
    sandbox::{BeginError, ImagePlan, Plan, Sandbox, Workshop},
};
use crate::{
    messages::{ImagePayload, ModelPayload, Premade, ReplicaId, ReplicaReport, ReplicaSpec, ReplicaState, Work},
    uids::RangeLease,
};

#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) spec: ReplicaSpec,
    pub(crate) sandbox: Sandbox,
    started_at_ms: u64,
    /// Its control group, where that was made before it was known for whom.
    premade: Option<Premade>,
}

impl Replica {
    /// Begins a sandbox for a worker, with its model mounted and its assignment waiting.
    pub(crate) fn begin_worker(
        workshop: &Workshop<'_>,
        spec: &ReplicaSpec,
        payload: &ModelPayload,
        uid: u32,
    ) -> Result<Sandbox, BeginError> {
        let sources = Sources::mounted(workshop, &spec.replica, payload);
        let assignment = Assignment::of(&spec.replica, payload, spec.concurrency, &sources);
        let is_template = matches!(payload.work, Work::Template { .. });
        let plan =
            Plan { name: spec.replica.as_str(), uid, limits: spec.limits, model: Some(&payload.model), is_template };
        // Nobody connects to a template.
        let listener = if is_template { None } else { Some(listen(workshop, spec)?) };
        let listener = listener.as_ref().map(AsFd::as_fd);
        Sandbox::begin(workshop, plan, |channel| assignment::send(channel, &assignment, listener, &sources))
    }

    /// Begins a sandbox for a process of an image.
    pub(crate) fn begin_image(
        workshop: &Workshop<'_>,
        spec: &ReplicaSpec,
        payload: &ImagePayload,
        range: &Rc<RangeLease>,
        helper_uid: Option<u32>,
    ) -> Result<Sandbox, BeginError> {
        let (name, hostname) = (spec.replica.as_str(), spec.replica.endpoint().as_str());
        let plan = ImagePlan { name, hostname, limits: spec.limits, payload, helper_uid };
        Sandbox::begin_image(workshop, &plan, range)
    }

    /// A fork of `template`, called `number` if it is forked only now. It differs from its template in nothing but its
    /// id and what it does.
    pub(crate) fn fork(
        workshop: &Workshop<'_>,
        spec: ReplicaSpec,
        template: &mut Self,
        number: ServerNumber,
    ) -> Result<(Self, ServerNumber), BeginError> {
        let listener = listen(workshop, &spec)?;
        let mut next = template.sandbox.next_server(workshop.groups, number)?;
        let number = next.number();
        match Sandbox::serve((&template.spec.replica, &template.sandbox), &mut next, listener) {
            Ok(sandbox) => Ok((Self::of(spec, sandbox, Some(Premade::Fork(number.0))), number)),
            Err(error) => {
                template.sandbox.discard_server(next);
                Err(error)
            }
        }
    }

    /// Whether `spec` can be forked of it.
    pub(crate) fn is_template_of(&self, spec: &ReplicaSpec) -> bool {
        let Some(work) = spec.work() else { return false };
        let mine = ReplicaSpec { replica: spec.replica.clone(), ..self.spec.clone() }.with_work(work.clone());
        let of = |id: &ReplicaId| (id.endpoint().clone(), id.revision());
        self.sandbox.is_template() && mine == *spec && of(&self.spec.replica) == of(&spec.replica)
    }

    /// A replica that `sandbox` is, or was told to be.
    pub(super) fn of(spec: ReplicaSpec, sandbox: Sandbox, premade: Option<Premade>) -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let started_at_ms = u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX);
        Self { spec, sandbox, started_at_ms, premade }
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
        let (spec, started_at_ms, premade) = (self.spec.clone(), self.started_at_ms, self.premade);
        ReplicaReport { spec, state, started_at_ms, premade }
    }
}

/// The worker's copy of it is soon the only one: when it dies, the kernel refuses what waits.
fn listen(workshop: &Workshop<'_>, spec: &ReplicaSpec) -> Result<UnixListener, ListenError> {
    listen_unix(&workshop.instance.socket_of(spec.replica.as_str()), workshop.node_gid)
}

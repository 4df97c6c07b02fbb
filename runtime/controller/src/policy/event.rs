use std::time::Duration;

use dormouse_sandbox::messages::ExitCause;
use dormouse_spec::{Bytes, Digest};

use super::{PolicySettings, TemplateSettings, Time};
use crate::Place;

/// One caller that waits; later callers have larger numbers, so their order is the queue's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WaiterId(pub(crate) u64);

/// One request of which only the head is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ExpectationId(pub(crate) u64);

/// One replica among those of its endpoint; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ReplicaKey(pub(crate) u64);

/// What happened to an endpoint.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Event {
    Acquire {
        waiter: WaiterId,
        deadline: Time,
    },
    /// The caller went away before it was answered.
    Cancel {
        waiter: WaiterId,
    },
    /// A request's head is here, and its body is waited for `until` then. A replica begins to wake.
    Expect {
        expectation: ExpectationId,
        until: Time,
    },
    /// It came to be a waiter, or its client went away.
    Unexpect {
        expectation: ExpectationId,
    },
    /// One lease on the replica came back.
    Release {
        replica: ReplicaKey,
    },
    /// It answered a request: what came before is forgiven.
    Served {
        replica: ReplicaKey,
    },
    /// It answers nothing any more, though it runs.
    Silent {
        replica: ReplicaKey,
    },
    /// Nothing listens in it any more, though it runs. It may be at work on the requests that it has.
    Deaf {
        replica: ReplicaKey,
    },
    /// It was looked at while it served, and is to end for what was seen: the cause.
    Unwell {
        replica: ReplicaKey,
        cause: String,
    },
    /// It was looked at while it served, and takes no requests until it is ready again: the cause, or another than
    /// before.
    Unready {
        replica: ReplicaKey,
        cause: String,
    },
    /// It was looked at while it served, and takes requests. Told of one that always did, too.
    ReadyAgain {
        replica: ReplicaKey,
    },
    /// A look at it while it serves is under way, or the last one failed: what comes of it is to be awaited. Or not any
    /// more.
    Doubted {
        replica: ReplicaKey,
        doubted: bool,
    },
    MemoryGranted {
        replica: ReplicaKey,
    },
    /// The reservation waits; `short` of the node's budget is missing for it.
    MemoryShort {
        replica: ReplicaKey,
        short: Bytes,
    },
    /// Others need the memory: the replica takes no more requests and ends with its last lease.
    Evict {
        replica: ReplicaKey,
    },
    /// `claimed` where its container waited for a model before.
    Created {
        replica: ReplicaKey,
        claimed: bool,
    },
    /// It was looked at while it starts, and is not ready: what was seen is the cause should it never be.
    Seen {
        replica: ReplicaKey,
        what: String,
    },
    Ready {
        replica: ReplicaKey,
    },
    LoadFailed {
        replica: ReplicaKey,
        reason: String,
    },
    Frozen {
        replica: ReplicaKey,
    },
    /// `unasked` where a freeze did not end and was given up.
    Thawed {
        replica: ReplicaKey,
        unasked: bool,
    },
    /// The spawner could not do what was asked of this replica.
    Refused {
        replica: ReplicaKey,
        reason: String,
    },
    Exited {
        replica: ReplicaKey,
        cause: ExitCause,
    },
    Removed {
        replica: ReplicaKey,
    },
    /// A replica that outlived the node process, and the template that it was forked from.
    Adopt {
        replica: ReplicaKey,
        state: AdoptedState,
        template: Option<ReplicaKey>,
    },
    /// A template that outlived the node process. Told after the replicas, which may be forked from it.
    AdoptTemplate {
        template: ReplicaKey,
        state: AdoptedState,
        prepared: Digest,
    },
    /// The model of the revision was prepared anew: other templates can be made of it, or none.
    Prepared {
        templates: Option<TemplateSettings>,
    },
    /// Another revision, or other settings: what lives is drained, new replicas are of the new one.
    NewRevision {
        settings: PolicySettings,
    },
    /// The endpoint is deleted or the daemon ends: nothing starts any more.
    Drain {
        until: Time,
    },
    Tick,
}

impl Event {
    /// The replica or template that something is told of by the ledger or the spawner.
    pub(super) fn told_of(&self) -> Option<ReplicaKey> {
        match self {
            Self::MemoryGranted { replica }
            | Self::MemoryShort { replica, .. }
            | Self::Evict { replica }
            | Self::Created { replica, .. }
            | Self::Seen { replica, .. }
            | Self::Ready { replica }
            | Self::LoadFailed { replica, .. }
            | Self::Frozen { replica }
            | Self::Thawed { replica, .. }
            | Self::Refused { replica, .. }
            | Self::Exited { replica, .. }
            | Self::Removed { replica } => Some(*replica),
            Self::Acquire { .. }
            | Self::Cancel { .. }
            | Self::Expect { .. }
            | Self::Unexpect { .. }
            | Self::Release { .. }
            | Self::Served { .. }
            | Self::Silent { .. }
            | Self::Deaf { .. }
            | Self::Unwell { .. }
            | Self::Unready { .. }
            | Self::ReadyAgain { .. }
            | Self::Doubted { .. }
            | Self::Adopt { .. }
            | Self::AdoptTemplate { .. }
            | Self::Prepared { .. }
            | Self::NewRevision { .. }
            | Self::Drain { .. }
            | Self::Tick => None,
        }
    }
}

/// How a replica or a template that outlived the node process was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AdoptedState {
    Loading,
    Ready,
    Frozen,
    /// Of a revision that serves no more, or a template as none is wanted: it is stopped.
    Outdated,
    Stopping,
}

/// What is to be done about it, in this order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Ask the ledger for the memory of a new replica.
    Reserve {
        replica: ReplicaKey,
    },
    /// Give its memory back, or take the reservation back.
    Free {
        replica: ReplicaKey,
    },
    /// Tell the ledger what the replica does.
    Report {
        replica: ReplicaKey,
        usage: Usage,
    },
    /// Ask the ledger for the memory of a template, if it is free at this moment.
    ReserveFree {
        template: ReplicaKey,
    },
    /// It has its memory, and waits for its template.
    Await {
        replica: ReplicaKey,
    },
    Create {
        replica: ReplicaKey,
        role: Role,
    },
    Freeze {
        replica: ReplicaKey,
    },
    Thaw {
        replica: ReplicaKey,
    },
    Stop {
        replica: ReplicaKey,
        grace: Duration,
    },
    Grant {
        waiter: WaiterId,
        replica: ReplicaKey,
    },
    Refuse {
        waiter: WaiterId,
        refusal: Refusal,
    },
    Note(Note),
}

/// What it is created for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// A replica that loads the model for itself.
    Serve,
    /// Not a replica: what replicas are forked from.
    Template { prepared: Digest },
    /// A replica that has the session of its template.
    Fork { template: ReplicaKey },
}

/// What the ledger must know of a replica or a template to judge whether it may be evicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Usage {
    Starting,
    Busy,
    Idle,
    Frozen,
    /// A template that loads, or that replicas were forked from, which would end with it.
    TemplateInUse,
    /// A template without replicas.
    TemplateAlone,
    /// Ends anyway; its memory comes back by itself.
    Leaving,
}

impl Usage {
    /// Counts as a replica of its owner that serves or will. A template serves nobody.
    pub(super) fn serves(self) -> bool {
        match self {
            Self::Starting | Self::Busy | Self::Idle | Self::Frozen => true,
            Self::TemplateInUse | Self::TemplateAlone | Self::Leaving => false,
        }
    }

    pub(super) fn is_busy(self) -> bool {
        matches!(self, Self::Busy | Self::TemplateInUse)
    }
}

/// Worth a line in the log, a metric, or `last_failure`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Note {
    Started {
        replica: ReplicaKey,
    },
    StartFailed {
        replica: ReplicaKey,
        cause: String,
    },
    /// What waited as a container for any model was killed as it became one for this.
    ClaimLost {
        replica: ReplicaKey,
        cause: String,
    },
    /// It was forked and did not come to serve: another takes its place, which loads the model for itself.
    ForkFailed {
        replica: ReplicaKey,
        cause: String,
    },
    /// It did not come to be, or ended: replicas load the model for themselves for a while.
    TemplateFailed {
        template: ReplicaKey,
        cause: String,
    },
    /// Nothing more is forked from it, and the next start begins another.
    TemplateReplaced {
        template: ReplicaKey,
        cause: String,
    },
    Crashed {
        replica: ReplicaKey,
        cause: String,
    },
    /// It takes no more requests, and ends once those that it has are over.
    Deaf {
        replica: ReplicaKey,
    },
    /// It took requests, and takes none for now.
    Unready {
        replica: ReplicaKey,
        cause: String,
    },
    ReadyAgain {
        replica: ReplicaKey,
    },
    FreezeFailed {
        replica: ReplicaKey,
    },
}

/// Why a waiter gets no replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    QueueFull {
        waiters: u32,
        retry_after: Duration,
    },
    BackOff {
        cause: String,
        retry_after: Duration,
    },
    StartFailed {
        cause: String,
        retry_after: Duration,
    },
    Draining {
        retry_after: Duration,
    },
    Deadline {
        place: Place,
    },
    /// The deadline passed, and replicas run of which none is ready: what was seen of one.
    Unready {
        cause: String,
    },
    OutOfCapacity {
        short: Bytes,
        retry_after: Duration,
    },
}

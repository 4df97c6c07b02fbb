use std::time::Duration;

use dormouse_sandbox::messages::ExitCause;
use dormouse_spec::Bytes;

use super::{PolicySettings, Time};
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
    /// It answers nothing any more, though it runs.
    Silent {
        replica: ReplicaKey,
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
    /// A replica that outlived the node process.
    Adopt {
        replica: ReplicaKey,
        state: AdoptedState,
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

/// How a replica that outlived the node process was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AdoptedState {
    Loading,
    Ready,
    Frozen,
    /// Of a revision that serves no more: it is stopped.
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
    Create {
        replica: ReplicaKey,
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

/// What the ledger must know of a replica to judge whether it may be evicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Usage {
    Starting,
    Busy,
    Idle,
    Frozen,
    /// Ends anyway; its memory comes back by itself.
    Leaving,
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
    Crashed {
        replica: ReplicaKey,
        cause: String,
    },
    FreezeFailed {
        replica: ReplicaKey,
    },
}

/// Why a waiter gets no replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    QueueFull { waiters: u32, retry_after: Duration },
    BackOff { cause: String, retry_after: Duration },
    StartFailed { cause: String, retry_after: Duration },
    Draining { retry_after: Duration },
    Deadline { place: Place },
    OutOfCapacity { short: Bytes, retry_after: Duration },
}

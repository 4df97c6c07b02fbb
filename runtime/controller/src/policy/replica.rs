use dormouse_spec::Bytes;

use super::{ReplicaKey, Time, Usage};
use crate::Phase;

/// Where a replica is, as far as decisions depend on it.
///
/// ```text
/// Pending → (Awaiting) → Creating → Loading → Ready ⇄ Frozen   accepting
///                                             Ready ⇄ Unready  accepting, but for now nothing is granted
///     any → Draining → Stopping → Exited → (removed)           not accepting
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    /// Waits for memory. `short` is what the ledger said is missing.
    Pending {
        short: Option<Bytes>,
    },
    /// Has its memory, and is forked from the template once that is ready.
    Awaiting {
        template: ReplicaKey,
    },
    /// The spawner was asked at `since`.
    Creating {
        since: Time,
    },
    /// The worker loads; the spawner was asked at `since`.
    Loading {
        since: Time,
    },
    Ready,
    /// It was ready, keeps the leases it has, and gets no others until it is ready again. What was seen of it.
    Unready {
        cause: String,
    },
    /// Asked to freeze; `told` once the spawner said so.
    Frozen {
        told: bool,
    },
    /// Ends with its last lease, or at `until`.
    Draining {
        until: Option<Time>,
    },
    /// Told to end; to be told `again` where that was refused.
    Stopping {
        again: Option<Time>,
    },
    /// Dead, not removed yet.
    Exited,
}

#[derive(Debug)]
pub(super) struct Replica {
    pub(super) state: State,
    /// Of the revision that serves.
    pub(super) current: bool,
    /// Its container waited for a model before.
    pub(super) claimed: bool,
    /// What was seen of it last while it was not ready.
    pub(super) seen: Option<String>,
    /// What it was forked from.
    pub(super) template: Option<ReplicaKey>,
    pub(super) leases: u32,
    /// When it became ready or last gave a lease back; idle times count from here.
    pub(super) last_used: Time,
    /// It is being looked at, or the last look at it failed.
    pub(super) doubted: bool,
    /// After a freeze that failed, when the next may be tried.
    pub(super) freeze_from: Time,
    /// Thaws that were asked for and not yet answered.
    pub(super) thaws_unanswered: u32,
    pub(super) reported: Usage,
}

impl Replica {
    pub(super) fn new(state: State, now: Time) -> Self {
        Self {
            state,
            current: true,
            claimed: false,
            seen: None,
            template: None,
            leases: 0,
            last_used: now,
            doubted: false,
            freeze_from: now,
            thaws_unanswered: 0,
            reported: Usage::Starting,
        }
    }

    /// It serves, or will, and is to be given further requests, at once or once it is ready.
    pub(super) fn accepts(&self) -> bool {
        self.awake() || matches!(self.state, State::Frozen { .. })
    }

    /// Accepting and not frozen: what a floor of running replicas is counted in.
    pub(super) fn awake(&self) -> bool {
        self.starts() || self.state.runs()
    }

    pub(super) fn starts(&self) -> bool {
        self.state.is_to_come() || matches!(self.state, State::Creating { .. } | State::Loading { .. })
    }

    /// Counts against the most replicas an endpoint may have.
    pub(super) fn lives(&self) -> bool {
        self.current && self.state != State::Exited
    }

    pub(super) fn usage(&self) -> Usage {
        match self.state {
            State::Pending { .. } | State::Awaiting { .. } | State::Creating { .. } | State::Loading { .. } => {
                Usage::Starting
            }
            State::Ready | State::Unready { .. } if self.leases > 0 => Usage::Busy,
            State::Ready | State::Unready { .. } => Usage::Idle,
            State::Frozen { .. } => Usage::Frozen,
            State::Draining { .. } | State::Stopping { .. } | State::Exited => Usage::Leaving,
        }
    }
}

impl State {
    pub(super) const TOLD_TO_STOP: Self = Self::Stopping { again: None };

    /// Nothing of it is there yet but what the ledger knows.
    pub(super) fn is_to_come(&self) -> bool {
        matches!(self, Self::Pending { .. } | Self::Awaiting { .. })
    }

    /// It is awake and was ready, be it now or not.
    pub(crate) fn runs(&self) -> bool {
        matches!(self, Self::Ready | Self::Unready { .. })
    }

    /// What was seen of it, where that is why it gets no requests.
    pub(crate) fn unready(&self) -> Option<&str> {
        match self {
            Self::Unready { cause } => Some(cause),
            _ => None,
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        match self {
            Self::Pending { .. } => Phase::Pending,
            Self::Awaiting { .. } | Self::Creating { .. } => Phase::Initializing,
            Self::Loading { .. } => Phase::Starting,
            Self::Ready | Self::Frozen { told: false } => Phase::Ready,
            Self::Unready { .. } => Phase::Unready,
            Self::Frozen { told: true } => Phase::Frozen,
            Self::Draining { .. } | Self::Stopping { .. } => Phase::Draining,
            Self::Exited => Phase::Exited,
        }
    }
}

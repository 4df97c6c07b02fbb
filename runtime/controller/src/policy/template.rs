use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use dormouse_spec::Digest;

use super::{
    ReplicaKey, Time, Usage,
    back_off::{BackOff, BackOffSettings},
};
use crate::Phase;

/// A template of which so many replicas were killed by a signal within [`FORK_DEATHS_WITHIN`] is replaced:
/// all of them share its memory layout and what is random in it, and what one of them did to it.
pub(super) const FORK_DEATHS_MAX: usize = 3;
pub(super) const FORK_DEATHS_WITHIN: Duration = Duration::from_secs(60);

/// How templates of an endpoint are made and kept, where they are wanted and can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TemplateSettings {
    /// How long one without replicas is kept.
    pub(crate) keep: Duration,
    /// What it loads.
    pub(crate) prepared: Digest,
}

/// Where a template is.
///
/// ```text
/// Reserving → Creating → Loading → Ready
///     any → Stopping → Exited → (removed)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TemplateState {
    /// Waits for the ledger to say whether its memory is free.
    Reserving,
    /// The spawner was asked at `since`.
    Creating {
        since: Time,
    },
    /// It loads; the spawner was asked at `since`.
    Loading {
        since: Time,
    },
    Ready,
    /// Told to end; to be told `again` where that was refused.
    Stopping {
        again: Option<Time>,
    },
    /// Dead, not removed yet.
    Exited,
}

impl TemplateState {
    pub(super) fn starts(self) -> bool {
        matches!(self, Self::Reserving | Self::Creating { .. } | Self::Loading { .. })
    }

    pub(super) fn lives(self) -> bool {
        self.starts() || self == Self::Ready
    }
}

/// A process that has the model loaded and serves nobody: replicas are forked from it.
#[derive(Debug)]
pub(super) struct Template {
    pub(super) state: TemplateState,
    /// What it loaded.
    pub(super) prepared: Digest,
    /// Nothing more is forked from it, and it is stopped as soon as none of its replicas is left.
    pub(super) condemned: bool,
    /// Since when it is ready and no replica of it is left.
    pub(super) alone_since: Option<Time>,
    /// When replicas of it were killed by a signal, the last few.
    deaths: VecDeque<Time>,
    pub(super) reported: Usage,
}

impl Template {
    pub(super) fn new(state: TemplateState, prepared: Digest) -> Self {
        Self {
            state,
            prepared,
            condemned: false,
            alone_since: None,
            deaths: VecDeque::new(),
            reported: Usage::TemplateInUse,
        }
    }

    pub(super) fn phase(&self) -> Phase {
        match self.state {
            TemplateState::Reserving => Phase::Pending,
            TemplateState::Creating { .. } => Phase::Initializing,
            TemplateState::Loading { .. } => Phase::Starting,
            TemplateState::Ready if !self.condemned => Phase::Ready,
            TemplateState::Ready | TemplateState::Stopping { .. } => Phase::Draining,
            TemplateState::Exited => Phase::Exited,
        }
    }

    pub(super) fn usage(&self) -> Usage {
        match self.state {
            TemplateState::Stopping { .. } | TemplateState::Exited => Usage::Leaving,
            TemplateState::Ready if self.alone_since.is_some() => Usage::TemplateAlone,
            _ => Usage::TemplateInUse,
        }
    }

    /// A replica of it was killed by a signal. Returns whether there were too many.
    pub(super) fn count_death(&mut self, now: Time) -> bool {
        self.deaths.push_back(now);
        self.deaths.retain(|death| now.since(*death) < FORK_DEATHS_WITHIN);
        self.deaths.len() >= FORK_DEATHS_MAX
    }
}

/// The templates of one endpoint: one that replicas are forked from, and those that are on their way out.
#[derive(Debug)]
pub(super) struct Templates {
    all: BTreeMap<ReplicaKey, Template>,
    /// Begins with a template's failure, and costs the endpoint nothing but the templates.
    pub(super) back_off: BackOff,
}

impl Templates {
    pub(super) fn new(back_off: BackOffSettings) -> Self {
        Self { all: BTreeMap::new(), back_off: BackOff::new(back_off) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(super) fn insert(&mut self, key: ReplicaKey, template: Template) {
        self.all.insert(key, template);
    }

    pub(super) fn remove(&mut self, key: ReplicaKey) -> Option<Template> {
        self.all.remove(&key)
    }

    pub(super) fn get_mut(&mut self, key: ReplicaKey) -> Option<&mut Template> {
        self.all.get_mut(&key)
    }

    pub(super) fn get(&self, key: ReplicaKey) -> Option<&Template> {
        self.all.get(&key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ReplicaKey, &Template)> {
        self.all.iter().map(|(key, template)| (*key, template))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (ReplicaKey, &mut Template)> {
        self.all.iter_mut().map(|(key, template)| (*key, template))
    }

    /// The one that replicas are forked from, or will be.
    pub(super) fn current(&self) -> Option<(ReplicaKey, TemplateState)> {
        let current = self.all.iter().find(|(_, it)| !it.condemned && it.state.lives());
        current.map(|(key, template)| (*key, template.state))
    }
}

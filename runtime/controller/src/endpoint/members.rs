use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use dormouse_sandbox::messages::{Premade, ReplicaId};
use dormouse_spec::Bytes;
use tokio::time::Instant;

use crate::{lease::Leased, policy::ReplicaKey, readiness::Looking, watch::Watching};

/// What the task keeps of a replica beside what the policy knows.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) leased: Arc<Leased>,
    pub(super) revision: u32,
    pub(super) memory: Bytes,
    pub(super) started_at_ms: u64,
    /// Looks whether it is ready, where it cannot say so.
    pub(super) _looking: Option<Looking>,
    /// Look at it while it is awake, once it took requests: whether it lives, and whether it takes them still.
    pub(super) liveness: Option<Watching>,
    pub(super) readiness: Option<Watching>,
    /// When its container began; None where it has not, or that was before the machine did.
    pub(super) created: Option<Instant>,
    /// Its control group, where that was made before it was known for whom.
    pub(super) premade: Option<Premade>,
    /// What it prints is kept. Of one that was adopted while it was being made, its log comes with both.
    pub(super) has_log: bool,
}

impl Member {
    pub(super) fn new(leased: Arc<Leased>, revision: u32, memory: Bytes) -> Self {
        Self {
            leased,
            revision,
            memory,
            started_at_ms: 0,
            _looking: None,
            liveness: None,
            readiness: None,
            created: None,
            premade: None,
            has_log: false,
        }
    }

    pub(super) fn control_group(&self) -> String {
        self.premade.map_or_else(|| self.leased.id().to_string(), Premade::name)
    }
}

/// The replicas by the policy's key and by the id that everyone else uses.
#[derive(Debug, Default)]
pub(super) struct Members {
    by_key: BTreeMap<ReplicaKey, Member>,
    keys: HashMap<ReplicaId, ReplicaKey>,
}

impl Members {
    pub(super) fn insert(&mut self, key: ReplicaKey, member: Member) {
        self.keys.insert(member.leased.id().clone(), key);
        self.by_key.insert(key, member);
    }

    pub(super) fn remove(&mut self, key: ReplicaKey) -> Option<Member> {
        let member = self.by_key.remove(&key)?;
        self.keys.remove(member.leased.id());
        Some(member)
    }

    pub(super) fn get(&self, key: ReplicaKey) -> Option<&Member> {
        self.by_key.get(&key)
    }

    pub(super) fn get_mut(&mut self, key: ReplicaKey) -> Option<&mut Member> {
        self.by_key.get_mut(&key)
    }

    pub(super) fn id(&self, key: ReplicaKey) -> Option<ReplicaId> {
        self.by_key.get(&key).map(|member| member.leased.id().clone())
    }

    pub(super) fn key(&self, id: &ReplicaId) -> Option<ReplicaKey> {
        self.keys.get(id).copied()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ReplicaKey, &Member)> {
        self.by_key.iter().map(|(key, member)| (*key, member))
    }
}

use std::sync::Arc;

use dormouse_sandbox::messages::ReplicaId;
use dormouse_spec::{AppProtocol, Bytes, Digest, Endpoint, ImageReference};
use serde::{Deserialize, Serialize};

use crate::{ContractChoice, Metadata, Preparation, WakeView};

/// A snapshot of one endpoint, published by its task. Readers never wait for the task.
#[derive(Debug, Clone)]
pub struct EndpointView {
    pub endpoint: Arc<Endpoint>,
    /// The revision that serves, from 1; 0 while the first is being deployed.
    pub revision: u32,
    pub model: Option<Digest>,
    pub model_bytes: Bytes,
    /// Whether it is an image that serves, or will.
    pub is_image: bool,
    /// Where it is no model that serves.
    pub image: Option<ServedImage>,
    /// What new replicas start from; `None` while the first revision is being deployed.
    pub preparation: Option<Preparation>,
    /// What the worker answers to `GET /v2/models/NAME` for this revision, kept so that asking
    /// wakes nothing. `null` while the first revision is being deployed.
    pub metadata: Metadata,
    pub condition: Condition,
    pub replicas: Vec<ReplicaView>,
    /// Whether replicas are forked from a template.
    pub template: TemplateUse,
    /// Templates that hold memory: one that replicas are forked from, and those that end.
    pub templates: Vec<TemplateView>,
    /// Requests that wait for a replica.
    pub waiters: u32,
    /// The last start, deploy or crash that went wrong, for `status`.
    pub last_failure: Option<String>,
    /// The last wakes of its replicas, the newest first.
    pub wakes: Vec<Arc<WakeView>>,
}

/// The image that an endpoint's replicas run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServedImage {
    /// As it was asked for.
    pub reference: ImageReference,
    /// Of its manifest for this machine, which is what runs until the next deploy, whatever becomes of the name.
    pub manifest: Digest,
    /// Of all its layers, unpacked.
    pub bytes: Bytes,
    /// Where it listens.
    pub port: u16,
    /// What is spoken to it.
    pub app_protocol: AppProtocol,
    /// What it keeps to, and why that is known.
    pub contract: ContractChoice,
}

impl EndpointView {
    /// An endpoint of which no revision serves.
    pub(crate) fn unserved(endpoint: Arc<Endpoint>, is_image: bool, last_failure: Option<String>) -> Self {
        Self {
            endpoint,
            revision: 0,
            model: None,
            is_image,
            image: None,
            model_bytes: Bytes::new(0),
            preparation: None,
            metadata: Metadata::default(),
            condition: if last_failure.is_some() { Condition::Failed } else { Condition::Deploying },
            replicas: Vec::new(),
            template: TemplateUse::Off,
            templates: Vec::new(),
            waiters: 0,
            last_failure,
            wakes: Vec::new(),
        }
    }
}

/// Whether requests are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// The first revision is not there yet.
    Deploying,
    /// Requests are taken; replicas are woken for them.
    Ready,
    /// Crashed and waiting for its next start, or its first deploy failed.
    Failed,
    /// Being deleted, or the daemon is ending.
    Draining,
}

/// Whether an endpoint's replicas are forked from a template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum TemplateUse {
    /// It was not asked for.
    Off,
    /// It was, and cannot be.
    Impossible {
        reason: String,
    },
    /// There is none: the next replica that starts begins one.
    None,
    Starting,
    /// So many replicas that live were forked from it.
    Ready {
        forks: u32,
    },
    /// One failed, and none is made for a while.
    HeldBack {
        cause: String,
    },
}

/// What replicas are forked from. It takes no requests.
#[derive(Debug, Clone, Serialize)]
pub struct TemplateView {
    pub id: ReplicaId,
    pub revision: u32,
    pub phase: Phase,
    /// Replicas that live and were forked from it.
    pub forks: u32,
    /// When it was created, in milliseconds since 1970.
    pub started_at_ms: u64,
    pub memory: Bytes,
    /// The name of its control group below the daemon's: its id, or the one that the group was made with.
    pub control_group: String,
}

#[derive(Debug, Clone, Serialize)]
pub struct ReplicaView {
    pub id: ReplicaId,
    pub revision: u32,
    pub phase: Phase,
    /// What was seen of it, where its phase is [`Phase::Unready`].
    pub unready: Option<String>,
    pub leases: u32,
    /// When it was created, in milliseconds since 1970.
    pub started_at_ms: u64,
    pub memory: Bytes,
    /// The name of its control group below the daemon's: its id, or the one that the group was made with.
    pub control_group: String,
}

/// Where a replica is in its life. Busy is no phase: it is leases > 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Waits for memory.
    Pending,
    /// The container is being made.
    Initializing,
    /// The worker loads its model.
    Starting,
    Ready,
    /// It was ready, and takes no new request until its readiness probe goes well again.
    Unready,
    Frozen,
    /// Takes no new request and ends when its leases are back.
    Draining,
    /// Dead; what it left is being removed.
    Exited,
}

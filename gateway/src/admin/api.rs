//! What the control plane says and is told, as JSON. `--json` of the command line prints these.

pub mod images;

use std::{net::SocketAddr, time::Duration};

use dormouse_controller::{
    self as controller, Asked, DeployStep, Deployed, DeployedContent, EndpointView, ReplicaView, Rung, ServedImage,
    TemplateUse, TemplateView, WakeOutcome, WakePhase, WakeView,
};
use dormouse_sandbox::messages::{ImageIdsMode, Origin};
use dormouse_spec::{AppProtocol, Bytes, Contract, Digest, Endpoint, EndpointRequest, ImageReference};
use serde::{Deserialize, Serialize};

use images::ImageDiskStatus;

/// `GET /v1/node`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    pub version: String,
    /// Tells this daemon's control groups and processes from another's.
    pub instance: String,
    /// Where inference requests are served.
    pub listen: SocketAddr,
    pub memory_budget: Bytes,
    pub cpus: u32,
    pub draining: bool,
    /// Whether each replica of an image has a range of the host's ids to itself.
    pub image_ids: ImageIdsMode,
    /// Where images are; `null` where that disk cannot be asked.
    #[serde(default)]
    pub image_disk: Option<ImageDiskStatus>,
}

/// `GET /v1/endpoints/NAME`, and a list of them is `GET /v1/endpoints`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EndpointStatus {
    pub endpoint: Endpoint,
    pub url: String,
    /// The revision that serves; 0 while the first is being deployed.
    pub revision: u32,
    pub condition: Condition,
    pub model: Option<Digest>,
    pub model_bytes: Bytes,
    /// Where it is no model that serves.
    #[serde(default)]
    pub image: Option<EndpointImage>,
    /// What new replicas start from; `null` while the first revision is being deployed.
    pub preparation: Option<Preparation>,
    pub replicas: Vec<ReplicaStatus>,
    /// Whether replicas are forked from a template.
    pub template: TemplateUse,
    /// Templates that hold memory: one that replicas are forked from, and those that end.
    pub templates: Vec<TemplateStatus>,
    /// Requests that wait for a replica.
    pub waiters: u32,
    pub last_failure: Option<String>,
    pub last_wake: Option<WakeStatus>,
}

/// The image that an endpoint runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointImage {
    /// As it was asked for.
    pub reference: ImageReference,
    /// Of its manifest for this machine: what runs until the next deploy, whatever becomes of the name.
    pub manifest: Digest,
    /// All its layers, unpacked.
    pub bytes: Bytes,
    /// Where it listens.
    pub port: u16,
    /// What is spoken to it.
    pub app_protocol: AppProtocol,
    /// What it keeps to.
    pub contract: ImageContract,
    /// Whether each of its replicas has a range of the host's ids to itself.
    pub ids: ImageIdsMode,
}

/// `GET /v1/endpoints/NAME/wakes` lists the last ones, the newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WakeStatus {
    pub replica: String,
    /// How long ago it began, in milliseconds.
    pub ago_ms: u64,
    pub rung: Rung,
    pub asked: Asked,
    #[serde(flatten)]
    pub outcome: WakeOutcome,
    /// Microseconds.
    pub total_us: u64,
    /// In their order, without those that it did not come to.
    pub phases: Vec<PhaseTime>,
    /// What the spawner did of the phase `create`, `claim` or `fork`.
    pub origin: Option<Origin>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseTime {
    pub phase: WakePhase,
    /// Microseconds.
    pub us: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaStatus {
    pub id: String,
    pub revision: u32,
    pub phase: Phase,
    /// What its readiness probe saw, where that is why it gets no requests.
    #[serde(default)]
    pub unready: Option<String>,
    /// Requests it serves.
    pub leases: u32,
    /// Milliseconds since 1970.
    pub started_at_ms: u64,
    /// Its memory limit.
    pub memory: Bytes,
    /// The name of its control group below the daemon's.
    pub control_group: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateStatus {
    pub id: String,
    pub revision: u32,
    pub phase: Phase,
    /// Replicas that live and were forked from it.
    pub forks: u32,
    /// Milliseconds since 1970.
    pub started_at_ms: u64,
    /// Its memory limit.
    pub memory: Bytes,
    /// The name of its control group below the daemon's.
    pub control_group: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    Deploying,
    Ready,
    Failed,
    Draining,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    Pending,
    Initializing,
    Starting,
    Ready,
    /// It was, and gets no requests until it is again.
    Unready,
    Frozen,
    Draining,
    Exited,
}

/// From what new replicas start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Preparation {
    /// From the model as it was optimised for this machine.
    Prepared { key: Digest, verified: Verified },
    /// From the model as it was deployed.
    Original { reason: String },
}

/// On what the answers of a prepared model were compared with the original's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verified {
    Sample,
    Seeded,
    No,
}

/// `POST /v1/endpoints`, with one descriptor for each of the files, in order, and then the sample's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeployOrder {
    pub endpoint: EndpointRequest,
    pub files: Vec<FileEntry>,
    /// A V2 inference request comes along, to verify the prepared model on.
    #[serde(default)]
    pub sample: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Beneath the model's directory.
    pub path: String,
}

/// One line of the answer to a [`DeployOrder`]; the last is [`Self::Deployed`] or [`Self::Failed`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum DeployEvent {
    /// The model's files are being copied into the store.
    Storing {
        bytes_done: u64,
        bytes_total: u64,
    },
    /// One confined replica loads the model.
    Probing,
    /// Another one optimises it and compares the answers.
    Preparing,
    /// The endpoint is being written down.
    Committing,
    Deployed {
        name: String,
        revision: u32,
        /// Of a model.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        model: Option<Digest>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        model_bytes: Option<Bytes>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        preparation: Option<Preparation>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        image: Option<Box<EndpointImage>>,
        url: String,
    },
    Failed {
        status: u16,
        error: String,
    },
}

/// The answer where there is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    pub error: String,
}

/// The address clients call a model at.
fn url_of_model(listen: SocketAddr, name: &str) -> String {
    format!("http://{listen}/v2/models/{name}")
}

/// The address that leads to an image on this machine; from elsewhere its name is the first label of any host
/// that leads here.
fn url_of_image(listen: SocketAddr, name: &str) -> String {
    format!("http://{name}.localhost:{}/", listen.port())
}

/// What an image keeps to, and why that is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageContract {
    pub name: Contract,
    pub why: String,
}

impl EndpointImage {
    fn of(image: &ServedImage, node: &NodeStatus) -> Self {
        let ServedImage { reference, manifest, bytes, port, app_protocol, contract } = image.clone();
        let contract = ImageContract { name: contract.contract, why: contract.why };
        Self { reference, manifest, bytes, port, app_protocol, contract, ids: node.image_ids.clone() }
    }
}

impl EndpointStatus {
    pub(super) fn of(view: &EndpointView, node: &NodeStatus) -> Self {
        let (name, listen) = (view.endpoint.name.as_str(), node.listen);
        let url = if view.is_image { url_of_image(listen, name) } else { url_of_model(listen, name) };
        Self {
            endpoint: Endpoint::clone(&view.endpoint),
            url,
            revision: view.revision,
            condition: view.condition.into(),
            model: view.model,
            model_bytes: view.model_bytes,
            image: view.image.as_ref().map(|image| EndpointImage::of(image, node)),
            preparation: view.preparation.as_ref().map(Preparation::from),
            replicas: view.replicas.iter().map(ReplicaStatus::from).collect(),
            template: view.template.clone(),
            templates: view.templates.iter().map(TemplateStatus::from).collect(),
            waiters: view.waiters,
            last_failure: view.last_failure.clone(),
            last_wake: view.wakes.first().map(|wake| WakeStatus::from(&**wake)),
        }
    }
}

impl From<&WakeView> for WakeStatus {
    fn from(wake: &WakeView) -> Self {
        Self {
            replica: wake.replica.to_string(),
            ago_ms: u64::try_from(wake.began.elapsed().as_millis()).unwrap_or(u64::MAX),
            rung: wake.rung,
            asked: wake.asked,
            outcome: wake.outcome.clone(),
            total_us: micros(wake.total),
            phases: wake.phases.iter().map(|(phase, time)| PhaseTime { phase: *phase, us: micros(*time) }).collect(),
            origin: wake.origin,
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl DeployEvent {
    pub(super) fn deployed(deployed: &Deployed, node: &NodeStatus) -> Self {
        let listen = node.listen;
        let (name, revision) = (deployed.name.to_string(), deployed.revision);
        match &deployed.content {
            DeployedContent::Model { model, bytes, preparation } => Self::Deployed {
                url: url_of_model(listen, &name),
                name,
                revision,
                model: Some(*model),
                model_bytes: Some(*bytes),
                preparation: Some(preparation.into()),
                image: None,
            },
            DeployedContent::Image(image) => Self::Deployed {
                url: url_of_image(listen, &name),
                name,
                revision,
                model: None,
                model_bytes: None,
                preparation: None,
                image: Some(Box::new(EndpointImage::of(image, node))),
            },
        }
    }
}

impl From<DeployStep> for DeployEvent {
    fn from(step: DeployStep) -> Self {
        match step {
            DeployStep::Storing { bytes_done, bytes_total } => Self::Storing { bytes_done, bytes_total },
            DeployStep::Probing => Self::Probing,
            DeployStep::Preparing => Self::Preparing,
            DeployStep::Committing => Self::Committing,
        }
    }
}

impl From<&controller::Preparation> for Preparation {
    fn from(preparation: &controller::Preparation) -> Self {
        use controller::{Preparation as P, Verified as V};
        match preparation {
            P::Prepared { key, verified } => {
                let verified = match verified {
                    V::Sample => Verified::Sample,
                    V::Seeded => Verified::Seeded,
                    V::No => Verified::No,
                };
                Self::Prepared { key: *key, verified }
            }
            P::Original { reason } => Self::Original { reason: reason.clone() },
        }
    }
}

impl From<&ReplicaView> for ReplicaStatus {
    fn from(view: &ReplicaView) -> Self {
        Self {
            id: view.id.to_string(),
            revision: view.revision,
            phase: view.phase.into(),
            unready: view.unready.clone(),
            leases: view.leases,
            started_at_ms: view.started_at_ms,
            memory: view.memory,
            control_group: view.control_group.clone(),
        }
    }
}

impl From<&TemplateView> for TemplateStatus {
    fn from(view: &TemplateView) -> Self {
        Self {
            id: view.id.to_string(),
            revision: view.revision,
            phase: view.phase.into(),
            forks: view.forks,
            started_at_ms: view.started_at_ms,
            memory: view.memory,
            control_group: view.control_group.clone(),
        }
    }
}

impl From<controller::Condition> for Condition {
    fn from(condition: controller::Condition) -> Self {
        use controller::Condition as C;
        match condition {
            C::Deploying => Self::Deploying,
            C::Ready => Self::Ready,
            C::Failed => Self::Failed,
            C::Draining => Self::Draining,
        }
    }
}

impl From<controller::Phase> for Phase {
    fn from(phase: controller::Phase) -> Self {
        use controller::Phase as P;
        match phase {
            P::Pending => Self::Pending,
            P::Initializing => Self::Initializing,
            P::Starting => Self::Starting,
            P::Ready => Self::Ready,
            P::Unready => Self::Unready,
            P::Frozen => Self::Frozen,
            P::Draining => Self::Draining,
            P::Exited => Self::Exited,
        }
    }
}

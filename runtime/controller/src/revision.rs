//! One deployed state of an endpoint, everything resolved: a model, or an image.

pub(crate) mod contract;
mod process;
mod volumes;

use std::sync::Arc;

use dormouse_image::oci::ImageConfig;
use dormouse_sandbox::messages::{ImagePayload, ModelPayload, Payload, Work};
use dormouse_spec::{Bytes, Container, Contract, Digest, Endpoint, EnvVar, Probe, StopSignal};
use serde::{Deserialize, Serialize};

use contract::ContractChoice;
pub(crate) use process::ProcessError;
pub(crate) use volumes::Contents;

use crate::{
    ControllerSettings, Metadata, ServedImage,
    configs::{ConfigStore, HeldContents},
    error_chain::one_line,
    policy::{BackOffSettings, PolicySettings, TemplateSettings},
    preparation::Preparation,
};

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Revision {
    pub(crate) number: u32,
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) content: Content,
}

/// What runs.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Content {
    Model(ModelContent),
    Image(Arc<ImageContent>),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ModelContent {
    pub(crate) model: Digest,
    pub(crate) bytes: Bytes,
    pub(crate) preparation: Preparation,
    /// What the worker said of the model when it was deployed.
    pub(crate) metadata: Metadata,
}

/// An image with all that was asked of its container.
#[derive(Debug, PartialEq)]
pub(crate) struct ImageContent {
    pub(crate) image: PinnedImage,
    pub(crate) served: ServedImage,
    /// Until it takes requests for the first time: what has to go well, one after the other.
    pub(crate) startup: Vec<Probe>,
    /// While it is awake, once it has.
    pub(crate) readiness: Option<Probe>,
    pub(crate) liveness: Option<Probe>,
    payload: Box<ImagePayload>,
    /// What its volumes hold, for as long as replicas are made of it.
    _contents: HeldContents,
}

/// What an endpoint keeps of its image, so that a name that is given to another, or a store that is not
/// there, changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PinnedImage {
    /// Of the manifest for this machine. Whatever it leads to is kept.
    pub(crate) manifest: Digest,
    pub(crate) media_type: String,
    /// The lowest first.
    pub(crate) layers: Vec<Digest>,
    /// Of all layers, unpacked.
    pub(crate) bytes: Bytes,
    pub(crate) entrypoint: Vec<String>,
    pub(crate) cmd: Vec<String>,
    pub(crate) env: Vec<EnvVar>,
    pub(crate) working_dir: String,
    pub(crate) user: String,
    pub(crate) stop_signal: StopSignal,
    /// Where the image says that it listens, if that is one place.
    pub(crate) port: Option<u16>,
    /// What it keeps to, as it was decided when it was deployed.
    #[serde(default)]
    pub(crate) contract: ContractChoice,
}

impl PinnedImage {
    /// # Errors
    /// Where the image's configuration says something that cannot be done.
    pub(crate) fn of(
        manifest: Digest,
        media_type: String,
        bytes: Bytes,
        config: &ImageConfig,
        asked: Contract,
    ) -> Result<Self, ProcessError> {
        let env = config.env.iter().map(|(name, value)| EnvVar::new(name.clone(), value.clone()));
        Ok(Self {
            manifest,
            media_type,
            layers: config.diff_ids.clone(),
            bytes,
            entrypoint: config.entrypoint.clone(),
            cmd: config.cmd.clone(),
            env: env.collect::<Result<_, _>>()?,
            working_dir: config.working_dir.clone(),
            user: config.user.clone(),
            stop_signal: config.stop_signal.as_deref().map_or(Ok(StopSignal::TERM), str::parse)?,
            port: process::only_tcp_port(&config.exposed_ports),
            contract: contract::decide(asked, config),
        })
    }
}

impl ImageContent {
    /// # Errors
    /// Where no process can be made of the two, or what its volumes hold cannot be kept.
    pub(crate) fn new(
        endpoint: &Endpoint,
        number: u32,
        container: &Container,
        image: PinnedImage,
        configs: &ConfigStore,
    ) -> Result<Self, ProcessError> {
        let port = process::port(container, &image);
        let (payload, contents) = process::payload(endpoint, number, container, &image, port)?;
        let held = configs.hold(&contents).map_err(|error| ProcessError::Contents(one_line(&error)))?;
        let served = ServedImage {
            reference: container.image.clone(),
            manifest: image.manifest,
            bytes: image.bytes,
            port,
            app_protocol: container.app_protocol,
            contract: image.contract.clone(),
        };
        let mut startup: Vec<Probe> = container.start_probes().cloned().collect();
        if startup.is_empty() {
            startup.push(image.contract.readiness());
        }
        // Whatever else was asked: a request that came where nothing listens yet would be refused.
        if !startup.iter().any(|probe| probe.handler.asks(port)) {
            startup.push(Probe::tcp());
        }
        let (readiness, liveness) = (container.readiness_probe.clone(), container.liveness_probe.clone());
        Ok(Self { image, served, startup, readiness, liveness, payload: Box::new(payload), _contents: held })
    }

    /// What may be run in a replica beside its process, to see how that does.
    pub(crate) fn commands(&self) -> &[Vec<String>] {
        &self.payload.commands
    }
}

impl Revision {
    pub(crate) fn model(&self) -> Option<&ModelContent> {
        match &self.content {
            Content::Model(model) => Some(model),
            Content::Image(_) => None,
        }
    }

    pub(crate) fn model_mut(&mut self) -> Option<&mut ModelContent> {
        match &mut self.content {
            Content::Model(model) => Some(model),
            Content::Image(_) => None,
        }
    }

    pub(crate) fn image(&self) -> Option<&Arc<ImageContent>> {
        match &self.content {
            Content::Image(image) => Some(image),
            Content::Model(_) => None,
        }
    }

    /// What runs in its replicas that serve.
    pub(crate) fn serving(&self, body_bytes_max: u64) -> Payload {
        match &self.content {
            Content::Image(image) => Payload::Image(image.payload.clone()),
            Content::Model(model) => {
                let work = Work::Serve { prepared: model.preparation.key() };
                self.worker(model, work, body_bytes_max)
            }
        }
    }

    /// What runs where its model is worked on otherwise. None where it has no model.
    pub(crate) fn working(&self, work: Work, body_bytes_max: u64) -> Option<Payload> {
        Some(self.worker(self.model()?, work, body_bytes_max))
    }

    pub(crate) fn worker(&self, model: &ModelContent, work: Work, body_bytes_max: u64) -> Payload {
        let intra_op_threads = self.endpoint.intra_op_threads;
        Payload::Model(ModelPayload { model: model.model, work, intra_op_threads, body_bytes_max })
    }

    /// How templates of it are made and kept: `Ok(None)` where none are asked for.
    ///
    /// # Errors
    /// Why there can be none, where they are.
    pub(crate) fn templates(&self) -> Result<Option<TemplateSettings>, String> {
        let Endpoint { keep_template: keep, intra_op_threads, .. } = *self.endpoint;
        let Content::Model(model) = &self.content else { return Ok(None) };
        match &model.preparation {
            _ if keep.is_zero() => Ok(None),
            // A fork has one thread, whatever ran beside it in what it is forked from.
            _ if intra_op_threads != 1 => Err(format!("{intra_op_threads} intra-op threads")),
            Preparation::Prepared { key, .. } => Ok(Some(TemplateSettings { keep, prepared: *key })),
            // It may draw random numbers that no seed is given for, and forks would draw the same.
            Preparation::Original { reason } => Err(format!("its model is not prepared: {reason}")),
        }
    }

    pub(crate) fn policy_settings(&self, node: &ControllerSettings) -> PolicySettings {
        PolicySettings {
            min_replicas: self.endpoint.min_replicas,
            max_replicas: self.endpoint.max_replicas,
            concurrency: self.endpoint.container_concurrency,
            queue_waiters_max: self.endpoint.queue_waiters_max,
            freeze_after: self.endpoint.freeze_after,
            zero_after: self.endpoint.zero_after,
            templates: self.templates().unwrap_or_default(),
            start_deadline: self.endpoint.start_deadline,
            drain_deadline: self.endpoint.drain_deadline,
            back_off: BackOffSettings {
                first: node.crash_back_off_first,
                max: node.crash_back_off_max,
                reset: node.crash_back_off_reset,
            },
        }
    }
}

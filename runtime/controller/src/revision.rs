use std::sync::Arc;

use dormouse_sandbox::messages::Work;
use dormouse_spec::{Bytes, Digest, Endpoint};

use crate::{
    ControllerSettings, Metadata,
    policy::{BackOffSettings, PolicySettings, TemplateSettings},
    preparation::Preparation,
};

/// One deployed state of an endpoint, everything resolved.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Revision {
    pub(crate) number: u32,
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) model: Digest,
    pub(crate) model_bytes: Bytes,
    pub(crate) preparation: Preparation,
    /// What the worker said of the model when it was deployed.
    pub(crate) metadata: Metadata,
}

impl Revision {
    /// What its replicas do.
    pub(crate) fn work(&self) -> Work {
        Work::Serve { prepared: self.preparation.key() }
    }

    /// How templates of it are made and kept: `Ok(None)` where none are asked for.
    ///
    /// # Errors
    /// Why there can be none, where they are.
    pub(crate) fn templates(&self) -> Result<Option<TemplateSettings>, String> {
        let Endpoint { keep_template: keep, intra_op_threads, .. } = *self.endpoint;
        match &self.preparation {
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

use dormouse_sandbox::messages::Work;
use dormouse_spec::{Bytes, Digest, Endpoint};

use crate::{
    ControllerSettings,
    policy::{BackOffSettings, PolicySettings},
    preparation::Preparation,
};

/// One deployed state of an endpoint, everything resolved.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Revision {
    pub(crate) number: u32,
    pub(crate) endpoint: Endpoint,
    pub(crate) model: Digest,
    pub(crate) model_bytes: Bytes,
    pub(crate) preparation: Preparation,
    /// What the worker said of the model when it was deployed.
    pub(crate) metadata: serde_json::Value,
}

impl Revision {
    /// What its replicas do.
    pub(crate) fn work(&self) -> Work {
        Work::Serve { prepared: self.preparation.key() }
    }

    pub(crate) fn policy_settings(&self, node: &ControllerSettings) -> PolicySettings {
        PolicySettings {
            min_replicas: self.endpoint.min_replicas,
            max_replicas: self.endpoint.max_replicas,
            concurrency: self.endpoint.container_concurrency,
            queue_waiters_max: self.endpoint.queue_waiters_max,
            freeze_after: self.endpoint.freeze_after,
            zero_after: self.endpoint.zero_after,
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

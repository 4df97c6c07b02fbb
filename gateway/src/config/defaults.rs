use std::time::Duration;

use dormouse_spec::{Bytes, EndpointDefaults, MilliCpu};
use serde::Deserialize;

use super::bounds::{Auto, duration};

/// `[endpoint.defaults]`: TOML has no null, so what a node works out for itself reads `"auto"`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Defaults {
    pub(super) min_replicas: u32,
    pub(super) max_replicas: Auto<u32>,
    pub(super) container_concurrency: u32,
    #[serde(deserialize_with = "duration")]
    pub(super) timeout: Duration,
    #[serde(deserialize_with = "duration")]
    pub(super) freeze_after: Duration,
    #[serde(deserialize_with = "duration")]
    pub(super) zero_after: Duration,
    #[serde(deserialize_with = "duration")]
    pub(super) keep_template: Duration,
    #[serde(deserialize_with = "duration")]
    pub(super) start_deadline: Duration,
    #[serde(deserialize_with = "duration")]
    pub(super) drain_deadline: Duration,
    pub(super) queue_waiters_max: u32,
    pub(super) cpu: MilliCpu,
    pub(super) memory: Auto<Bytes>,
    pub(super) pids: u32,
    pub(super) tmp: Bytes,
    pub(super) intra_op_threads: Auto<u32>,
}

impl Default for Defaults {
    fn default() -> Self {
        EndpointDefaults::default().into()
    }
}

fn auto<T>(value: Option<T>) -> Auto<T> {
    value.map_or(Auto::Auto, Auto::Set)
}

impl From<EndpointDefaults> for Defaults {
    fn from(known: EndpointDefaults) -> Self {
        Self {
            min_replicas: known.min_replicas,
            max_replicas: auto(known.max_replicas),
            container_concurrency: known.container_concurrency,
            timeout: known.timeout,
            freeze_after: known.freeze_after,
            zero_after: known.zero_after,
            keep_template: known.keep_template,
            start_deadline: known.start_deadline,
            drain_deadline: known.drain_deadline,
            queue_waiters_max: known.queue_waiters_max,
            cpu: known.cpu,
            memory: auto(known.memory),
            pids: known.pids,
            tmp: known.tmp,
            intra_op_threads: auto(known.intra_op_threads),
        }
    }
}

impl From<Defaults> for EndpointDefaults {
    fn from(read: Defaults) -> Self {
        Self {
            min_replicas: read.min_replicas,
            max_replicas: read.max_replicas.set(),
            container_concurrency: read.container_concurrency,
            timeout: read.timeout,
            freeze_after: read.freeze_after,
            zero_after: read.zero_after,
            keep_template: read.keep_template,
            start_deadline: read.start_deadline,
            drain_deadline: read.drain_deadline,
            queue_waiters_max: read.queue_waiters_max,
            cpu: read.cpu,
            memory: read.memory.set(),
            pids: read.pids,
            tmp: read.tmp,
            intra_op_threads: read.intra_op_threads.set(),
        }
    }
}

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Alias, Bytes, Container, EndpointName, Limits, MilliCpu, duration};

/// What an operator asked of an endpoint, in a manifest or on the command line. What is `None` is
/// taken from the node's [`EndpointDefaults`] when the endpoint is [resolved](Self::resolve).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointRequest {
    pub name: EndpointName,
    pub alias: Option<Alias>,
    pub min_replicas: Option<u32>,
    pub max_replicas: Option<u32>,
    pub container_concurrency: Option<u32>,
    /// The longest a request may take, waiting included.
    #[serde(default, with = "optional_duration")]
    pub timeout: Option<Duration>,
    #[serde(default, with = "optional_duration")]
    pub freeze_after: Option<Duration>,
    #[serde(default, with = "optional_duration")]
    pub zero_after: Option<Duration>,
    /// Left out where it was not asked for, as in files of versions that had no templates.
    #[serde(default, with = "optional_duration", skip_serializing_if = "Option::is_none")]
    pub keep_template: Option<Duration>,
    #[serde(default, with = "optional_duration")]
    pub start_deadline: Option<Duration>,
    #[serde(default, with = "optional_duration")]
    pub drain_deadline: Option<Duration>,
    pub queue_waiters_max: Option<u32>,
    pub cpu: Option<MilliCpu>,
    pub memory: Option<Bytes>,
    pub pids: Option<u32>,
    pub tmp: Option<Bytes>,
    /// Left out where there are none, as in files of versions that took none.
    #[serde(default, skip_serializing_if = "Requests::are_none")]
    pub requests: Requests,
    pub intra_op_threads: Option<u32>,
    /// What runs where it is no model. Left out where it is one, as in files of versions that had no images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<Box<Container>>,
}

/// The least of what has no limit: the node's default, or more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requests {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<MilliCpu>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Bytes>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tmp: Option<Bytes>,
}

impl Requests {
    fn are_none(&self) -> bool {
        *self == Self::default()
    }
}

/// What endpoints get where they do not say: `[endpoint.defaults]` of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EndpointDefaults {
    pub min_replicas: u32,
    /// None: as many as the node has processors.
    pub max_replicas: Option<u32>,
    pub container_concurrency: u32,
    #[serde(with = "duration::text")]
    pub timeout: Duration,
    #[serde(with = "duration::text")]
    pub freeze_after: Duration,
    #[serde(with = "duration::text")]
    pub zero_after: Duration,
    /// How long a template is kept once no replica forked from it is left; zero: none is made.
    #[serde(with = "duration::text")]
    pub keep_template: Duration,
    #[serde(with = "duration::text")]
    pub start_deadline: Duration,
    #[serde(with = "duration::text")]
    pub drain_deadline: Duration,
    pub queue_waiters_max: u32,
    pub cpu: MilliCpu,
    /// None: twice the bytes of the model and [`MEMORY_BESIDE_MODEL`].
    pub memory: Option<Bytes>,
    pub pids: u32,
    pub tmp: Bytes,
    /// None: as many as whole processors the replica may use, at least one, no more than the node has.
    pub intra_op_threads: Option<u32>,
}

/// What a replica gets beside its model: ONNX Runtime, its arenas, the bodies of requests. And what a
/// container gets, of which nothing is known.
const MEMORY_BESIDE_MODEL: Bytes = Bytes::from_mebibytes(256);

impl Default for EndpointDefaults {
    fn default() -> Self {
        Self {
            min_replicas: 0,
            max_replicas: None,
            container_concurrency: 4,
            timeout: Duration::from_secs(300),
            freeze_after: Duration::from_secs(10),
            zero_after: Duration::from_secs(300),
            keep_template: Duration::ZERO,
            start_deadline: Duration::from_secs(60),
            drain_deadline: Duration::from_secs(30),
            queue_waiters_max: 1_000,
            cpu: MilliCpu::from_milli(1_000),
            memory: None,
            pids: 64,
            tmp: Bytes::from_mebibytes(64),
            intra_op_threads: None,
        }
    }
}

/// An endpoint with every setting present and within its bounds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    pub name: EndpointName,
    pub alias: Option<Alias>,
    pub min_replicas: u32,
    /// At least 1 and at least `min_replicas`.
    pub max_replicas: u32,
    /// Requests one replica serves at a time, at least 1.
    pub container_concurrency: u32,
    #[serde(with = "duration::text")]
    pub timeout: Duration,
    #[serde(with = "duration::text")]
    pub freeze_after: Duration,
    #[serde(with = "duration::text")]
    pub zero_after: Duration,
    #[serde(with = "duration::text")]
    pub keep_template: Duration,
    #[serde(with = "duration::text")]
    pub start_deadline: Duration,
    #[serde(with = "duration::text")]
    pub drain_deadline: Duration,
    pub queue_waiters_max: u32,
    pub limits: Limits,
    pub intra_op_threads: u32,
}

/// Why a request describes no endpoint that can run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    #[error("{field} is {value}: it must be from {min} to {max}")]
    OutOfRange { field: &'static str, value: u64, min: u64, max: u64 },
    #[error(
        "{threads} intra-op threads do not fit into {pids} pids: the worker needs {THREADS_BESIDE_INTRA_OP} besides"
    )]
    MoreThreadsThanPids { threads: u32, pids: u32 },
    #[error("minReplicas {min} is more than maxReplicas {max}")]
    MoreMinThanMax { min: u32, max: u32 },
}

/// Bounds that keep a typing error from becoming a load on the node.
const REPLICAS_MAX: u32 = 1_000;
/// The most that `containerConcurrency` may be, as Knative bounds it.
pub const CONTAINER_CONCURRENCY_MAX: u32 = 1_000;
const QUEUE_WAITERS_MAX: u32 = 100_000;
const PIDS_MIN: u32 = 16;
/// The most processes and threads that one replica may be given.
pub const PIDS_MAX: u32 = 32_768;
const INTRA_OP_THREADS_MAX: u32 = 1_024;
/// Requests a container is sent at a time where it is not said: the target of Knative's autoscaler.
const CONTAINER_CONCURRENCY_OF_IMAGES: u32 = 100;
/// Processes of a container where it is not said: an image that starts a thread for each request is no mistake.
const PIDS_OF_IMAGES: u32 = 512;
/// A worker's threads that run no part of a model.
const THREADS_BESIDE_INTRA_OP: u32 = 2;
/// Less than this does not hold ONNX Runtime itself.
const MEMORY_MIN: Bytes = Bytes::from_mebibytes(32);
const TMP_MIN: Bytes = Bytes::new(4096);

impl EndpointRequest {
    /// A request that leaves everything but the name to the node's defaults.
    #[must_use]
    pub fn named(name: EndpointName) -> Self {
        Self {
            name,
            alias: None,
            min_replicas: None,
            max_replicas: None,
            container_concurrency: None,
            timeout: None,
            freeze_after: None,
            zero_after: None,
            keep_template: None,
            start_deadline: None,
            drain_deadline: None,
            queue_waiters_max: None,
            cpu: None,
            memory: None,
            pids: None,
            tmp: None,
            requests: Requests::default(),
            intra_op_threads: None,
            container: None,
        }
    }

    /// Fills what was not asked for and checks the bounds. `model` is the size of the model's files
    /// and `node_cpus` how many processors the node has.
    ///
    /// # Errors
    /// [`EndpointError`] names the first setting that is out of its bounds.
    pub fn resolve(
        &self,
        defaults: &EndpointDefaults,
        model: Bytes,
        node_cpus: u32,
    ) -> Result<Endpoint, EndpointError> {
        // A share of more processors than there are is a share of all of them.
        let cpu = limit(self.cpu, defaults.cpu, self.requests.cpu).min(MilliCpu::from_processors(node_cpus));
        let min_replicas = self.min_replicas.unwrap_or(defaults.min_replicas);
        let max_replicas = self.max_replicas.or(defaults.max_replicas).unwrap_or(node_cpus.max(min_replicas).max(1));
        let default_memory =
            defaults.memory.unwrap_or_else(|| model.saturating_add(model).saturating_add(MEMORY_BESIDE_MODEL));
        let memory = limit(self.memory, default_memory, self.requests.memory);
        let tmp = limit(self.tmp, defaults.tmp, self.requests.tmp);
        let tmp = Bytes::new(within("tmp", tmp.get(), TMP_MIN.get(), u64::MAX)?);
        // The node's defaults are for the built-in worker, whose threads are known.
        let (default_concurrency, default_pids) = match self.container {
            Some(_) => (CONTAINER_CONCURRENCY_OF_IMAGES, defaults.pids.max(PIDS_OF_IMAGES)),
            None => (defaults.container_concurrency, defaults.pids),
        };
        let limits = Limits {
            cpu,
            memory: Bytes::new(within("memory", memory.get(), MEMORY_MIN.get(), u64::MAX)?),
            pids: within_u32("pids", self.pids.unwrap_or(default_pids), PIDS_MIN, PIDS_MAX)?,
            // Its pages count as memory, so more of it could not be filled.
            tmp: tmp.min(memory),
        };
        let endpoint = Endpoint {
            name: self.name.clone(),
            alias: self.alias.clone(),
            min_replicas: within_u32("minReplicas", min_replicas, 0, REPLICAS_MAX)?,
            max_replicas: within_u32("maxReplicas", max_replicas, 1, REPLICAS_MAX)?,
            container_concurrency: within_u32(
                "containerConcurrency",
                self.container_concurrency.unwrap_or(default_concurrency),
                1,
                CONTAINER_CONCURRENCY_MAX,
            )?,
            timeout: at_least_1ms("timeout", self.timeout.unwrap_or(defaults.timeout))?,
            freeze_after: self.freeze_after.unwrap_or(defaults.freeze_after),
            zero_after: self.zero_after.unwrap_or(defaults.zero_after),
            keep_template: self.keep_template.unwrap_or(defaults.keep_template),
            start_deadline: at_least_1ms("start-deadline", self.start_deadline.unwrap_or(defaults.start_deadline))?,
            drain_deadline: self.drain_deadline.unwrap_or(defaults.drain_deadline),
            queue_waiters_max: within_u32(
                "queue-waiters-max",
                self.queue_waiters_max.unwrap_or(defaults.queue_waiters_max),
                1,
                QUEUE_WAITERS_MAX,
            )?,
            limits,
            intra_op_threads: within_u32(
                "intra-op-threads",
                self.intra_op_threads.or(defaults.intra_op_threads).unwrap_or(cpu.threads()),
                1,
                INTRA_OP_THREADS_MAX,
            )?,
        };
        let (threads, pids) = (endpoint.intra_op_threads, endpoint.limits.pids);
        if self.container.is_none() && threads.saturating_add(THREADS_BESIDE_INTRA_OP) > pids {
            return Err(EndpointError::MoreThreadsThanPids { threads, pids });
        }
        if endpoint.min_replicas > endpoint.max_replicas {
            return Err(EndpointError::MoreMinThanMax { min: endpoint.min_replicas, max: endpoint.max_replicas });
        }
        Ok(endpoint)
    }
}

fn limit<T: Ord>(written: Option<T>, default: T, requested: Option<T>) -> T {
    written.unwrap_or_else(|| match requested {
        Some(requested) => default.max(requested),
        None => default,
    })
}

fn within(field: &'static str, value: u64, min: u64, max: u64) -> Result<u64, EndpointError> {
    if (min..=max).contains(&value) { Ok(value) } else { Err(EndpointError::OutOfRange { field, value, min, max }) }
}

fn within_u32(field: &'static str, value: u32, min: u32, max: u32) -> Result<u32, EndpointError> {
    within(field, value.into(), min.into(), max.into()).map(|_| value)
}

fn at_least_1ms(field: &'static str, duration: Duration) -> Result<Duration, EndpointError> {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    within(field, millis, 1, u64::MAX).map(|_| duration)
}

mod optional_duration {
    use super::{Duration, duration};
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => duration::text::serialize(value, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        #[derive(Deserialize)]
        struct Text(#[serde(with = "duration::text")] Duration);
        Ok(Option::<Text>::deserialize(deserializer)?.map(|text| text.0))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn request() -> EndpointRequest {
        EndpointRequest::named("demo".parse().unwrap())
    }

    fn resolve(request: &EndpointRequest) -> Result<Endpoint, EndpointError> {
        request.resolve(&EndpointDefaults::default(), Bytes::from_mebibytes(10), 2)
    }

    #[test]
    fn silence_means_the_documented_defaults() {
        let endpoint = resolve(&request()).unwrap();
        assert_eq!((endpoint.min_replicas, endpoint.max_replicas, endpoint.container_concurrency), (0, 2, 4));
        assert_eq!(endpoint.limits.memory, Bytes::from_mebibytes(2 * 10 + 256));
        assert_eq!(endpoint.intra_op_threads, 1);
    }

    #[test]
    fn what_is_requested_without_a_limit_is_the_least() {
        let (small, large) = (Bytes::from_mebibytes(1), Bytes::from_mebibytes(1_024));
        let asked = |memory, requested| {
            let requests = Requests { memory: Some(requested), cpu: Some(MilliCpu::from_milli(1_500)), tmp: None };
            let endpoint = resolve(&EndpointRequest { memory, requests, ..request() }).unwrap();
            assert_eq!(endpoint.limits.cpu.milli(), 1_500);
            endpoint.limits.memory
        };
        assert_eq!(asked(None, large), large);
        assert_eq!(asked(None, small), Bytes::from_mebibytes(2 * 10 + 256), "the default is more");
        assert_eq!(asked(Some(Bytes::from_mebibytes(64)), small), Bytes::from_mebibytes(64));
    }

    #[test]
    fn bounds_are_named() {
        let none = EndpointRequest { max_replicas: Some(0), ..request() };
        assert!(resolve(&none).unwrap_err().to_string().contains("maxReplicas"));
        let crossed = EndpointRequest { min_replicas: Some(3), max_replicas: Some(2), ..request() };
        assert_eq!(resolve(&crossed), Err(EndpointError::MoreMinThanMax { min: 3, max: 2 }));
        let crowded = EndpointRequest { intra_op_threads: Some(500), ..request() };
        assert_eq!(resolve(&crowded), Err(EndpointError::MoreThreadsThanPids { threads: 500, pids: 64 }));
        let wide = EndpointRequest { cpu: Some(MilliCpu::from_milli(64_000)), ..request() };
        let wide = resolve(&wide).unwrap();
        assert_eq!((wide.limits.cpu, wide.intra_op_threads), (MilliCpu::from_milli(2_000), 2), "all the node has");
        let roomy = EndpointRequest { tmp: Some(Bytes::new(u64::MAX)), ..request() };
        let limits = resolve(&roomy).unwrap().limits;
        assert_eq!(limits.tmp, limits.memory);
        let tiny = EndpointRequest { memory: Some(Bytes::new(1)), ..request() };
        assert!(resolve(&tiny).unwrap_err().to_string().contains("memory"));
    }

    #[test]
    fn a_request_survives_json() {
        let asked = EndpointRequest {
            timeout: Some(Duration::from_millis(1500)),
            cpu: Some(MilliCpu::from_milli(500)),
            ..request()
        };
        let text = serde_json::to_string(&asked).unwrap();
        assert_eq!(serde_json::from_str::<EndpointRequest>(&text).unwrap(), asked);
        assert!(!text.contains("keep_template"), "a version without templates reads it");
        let kept = EndpointRequest { keep_template: Some(Duration::from_secs(90)), ..asked };
        let text = serde_json::to_string(&kept).unwrap();
        assert_eq!(serde_json::from_str::<EndpointRequest>(&text).unwrap(), kept);
    }
}

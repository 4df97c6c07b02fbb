use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::PathBuf,
    time::Duration,
};

use dormouse_controller::{ControllerSettings, GcThresholds};
use dormouse_image::registry::RegistrySettings;
use dormouse_sandbox::spawner::{LentPath, PoolSettings};
use dormouse_spec::{Bytes, Digest, EndpointDefaults, EndpointName, EndpointRequest, Registry};
use serde::{Deserialize, Serialize};

use super::{
    ConfigError,
    error::DEFAULT_LOW_PERCENT,
    file::{Auth, ConfigFile, HostPath, Images},
    machine,
};

/// What the command line says of a daemon, above its configuration.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    pub listen: Option<SocketAddr>,
    pub data: Option<PathBuf>,
    pub run: Option<PathBuf>,
}

/// Everything a daemon needs, present and within bounds.
#[derive(Debug, Clone, PartialEq)]
pub struct DaemonSettings {
    pub listen: SocketAddr,
    pub node_user: String,
    pub onnxruntime: PathBuf,
    /// What of the machine replicas of images may be given.
    pub lent: Vec<LentPath>,
    pub pool: PoolSettings,
    /// The part the node process gets, as JSON.
    pub node: NodeSettings,
}

/// What the node process is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeSettings {
    pub data: PathBuf,
    pub run: PathBuf,
    /// Members of this group may use the admin API.
    pub admin_group: String,
    /// Containers run as host uids from here; none of them may use the admin API.
    pub uid_base: u32,
    pub uid_count: u32,
    /// The first of 65,536 host ids of images' files.
    pub image_id_base: u32,
    pub gateway: GatewaySettings,
    pub endpoint_defaults: EndpointDefaults,
    /// Of replicas, beside which the pool has its own.
    pub memory_budget: Bytes,
    pub images: ImageSettings,
    /// The sha256 of the ONNX Runtime that models are prepared for; `None` prepares none.
    pub prepare_for: Option<Digest>,
    pub cpus: u32,
    /// How long running requests may take once the daemon was told to end.
    pub drain_deadline: Duration,
    pub crash_back_off_first: Duration,
    pub crash_back_off_max: Duration,
    pub crash_back_off_reset: Duration,
    pub log_file_bytes_max: u64,
    pub log_kept_after_exit: Duration,
}

/// Limits of the data plane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewaySettings {
    /// The largest request body, as sent and inflated.
    pub body_bytes_max: u64,
    /// The largest request head.
    pub head_bytes_max: u32,
    /// The longest a client may take for a request's head, idle time before it included.
    pub head_timeout: Duration,
    /// The longest that a client which holds a replica, or is about to, may send or take nothing.
    pub client_wait: Duration,
    /// Bytes a second that it has to send or take in the long run.
    pub client_rate_min: u64,
    pub connections_max: u32,
    /// Requests at a time on one HTTP/2 connection.
    pub streams_per_connection_max: u32,
}

/// Where images come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageSettings {
    /// Registries that are spoken to over plain HTTP.
    pub insecure_registries: BTreeSet<Registry>,
    /// Asked before the registry, in their order.
    pub mirrors: BTreeMap<Registry, Vec<Registry>>,
    /// The node's own, as Docker writes them, where the file exists.
    pub credentials: PathBuf,
    /// What one layer may hold, unpacked.
    pub layer_bytes_max: Bytes,
    /// When images that nobody uses make room; none where they never do.
    pub gc: Option<GcThresholds>,
}

impl ImageSettings {
    fn controller(&self) -> dormouse_controller::ImageSettings {
        let Self { insecure_registries, mirrors, credentials, layer_bytes_max, gc } = self.clone();
        let registries = RegistrySettings { insecure: insecure_registries, mirrors, ..RegistrySettings::default() };
        dormouse_controller::ImageSettings { registries, credentials, layer_bytes_max, gc }
    }
}

/// Resolves a file for this machine.
///
/// # Errors
/// Where two settings contradict each other or the machine lacks something.
pub(super) fn resolve(file: ConfigFile, overrides: &Overrides) -> Result<DaemonSettings, ConfigError> {
    let ConfigFile { node, gateway, sandbox, pool, images, endpoint } = file;
    let listen = overrides.listen.unwrap_or(gateway.listen);
    if gateway.auth == Auth::Loopback && !listen.ip().is_loopback() {
        return Err(ConfigError::Exposed(listen));
    }
    let (uid_base, uid_count) = (saturate(sandbox.uid_base), saturate(sandbox.uid_count));
    // u32::MAX is no uid: it means "leave it as it is".
    if uid_base.checked_add(uid_count).is_none() {
        return Err(ConfigError::UidRange { base: uid_base, count: uid_count });
    }
    if endpoint.crash_back_off.first > endpoint.crash_back_off.max {
        return Err(ConfigError::BackOff);
    }
    let gc = gc(&images)?;
    let cpus = machine::cpus()?;
    let endpoint_defaults = checked(endpoint.defaults.into(), cpus)?;
    let memory_budget = match node.memory_budget.set() {
        Some(budget) => budget,
        None => machine::memory_budget()?,
    };
    let pool = PoolSettings { size: saturate(pool.size), memory: Bytes::new(pool.memory), tmp: endpoint_defaults.tmp };
    let memory_budget = beside_pool(memory_budget, &pool)?;
    let onnxruntime = machine::onnxruntime(&sandbox.onnxruntime.0)?;
    let prepare_for = node.prepare_models.then(|| machine::digest(&onnxruntime)).transpose()?;
    Ok(DaemonSettings {
        pool,
        listen,
        node_user: node.user,
        onnxruntime,
        lent: sandbox.host_paths.into_iter().map(|HostPath { path, read_only }| LentPath { path, read_only }).collect(),
        node: NodeSettings {
            data: absolute(overrides.data.clone().unwrap_or(node.data)),
            run: absolute(overrides.run.clone().unwrap_or(node.run)),
            admin_group: node.admin_group,
            uid_base,
            uid_count,
            image_id_base: saturate(sandbox.image_id_base),
            gateway: GatewaySettings {
                body_bytes_max: gateway.body_bytes_max,
                head_bytes_max: saturate(gateway.head_bytes_max),
                head_timeout: gateway.head_timeout,
                client_wait: gateway.client_wait,
                client_rate_min: gateway.client_rate_min,
                connections_max: saturate(gateway.connections_max),
                streams_per_connection_max: saturate(gateway.streams_per_connection_max),
            },
            endpoint_defaults,
            memory_budget,
            images: ImageSettings {
                insecure_registries: images.insecure_registries,
                mirrors: images.mirrors,
                credentials: absolute(images.credentials),
                layer_bytes_max: Bytes::new(images.layer_bytes_max),
                gc,
            },
            prepare_for,
            cpus,
            drain_deadline: node.drain_deadline,
            crash_back_off_first: endpoint.crash_back_off.first,
            crash_back_off_max: endpoint.crash_back_off.max,
            crash_back_off_reset: endpoint.crash_back_off.reset_after,
            log_file_bytes_max: endpoint.logs.file_bytes_max,
            log_kept_after_exit: endpoint.logs.kept_after_exit,
        },
    })
}

fn gc(images: &Images) -> Result<Option<GcThresholds>, ConfigError> {
    let low = images.gc_low_threshold_percent;
    let Some(high) = images.gc_high_threshold_percent else {
        return low.map_or(Ok(None), |low| Err(ConfigError::NoHighThreshold(low)));
    };
    let low = low.unwrap_or(DEFAULT_LOW_PERCENT);
    let thresholds = GcThresholds::new(high, low, images.minimum_gc_age);
    thresholds.map(Some).map_err(|_| ConfigError::Thresholds { high, low })
}

/// What is left to replicas: a pool that is full may use all of its limits.
fn beside_pool(budget: Bytes, pool: &PoolSettings) -> Result<Bytes, ConfigError> {
    let taken = Bytes::new(pool.memory.get().saturating_mul(pool.size.into()));
    let left = budget.saturating_sub(taken);
    if left == Bytes::default() { Err(ConfigError::Pool { budget, taken }) } else { Ok(left) }
}

/// The file's bounds are far below where this would saturate.
fn saturate(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// Defaults that no endpoint could be resolved with are refused at start, not at the first deploy.
fn checked(defaults: EndpointDefaults, cpus: u32) -> Result<EndpointDefaults, ConfigError> {
    if let Ok(any) = "any".parse::<EndpointName>() {
        EndpointRequest::named(any).resolve(&defaults, Bytes::default(), cpus)?;
    }
    Ok(defaults)
}

impl NodeSettings {
    #[must_use]
    pub fn controller(&self) -> ControllerSettings {
        ControllerSettings {
            data: self.data.clone(),
            run: self.run.clone(),
            defaults: self.endpoint_defaults.clone(),
            memory_budget: self.memory_budget,
            images: self.images.controller(),
            prepare_for: self.prepare_for,
            node_cpus: self.cpus,
            body_bytes_max: self.gateway.body_bytes_max,
            crash_back_off_first: self.crash_back_off_first,
            crash_back_off_max: self.crash_back_off_max,
            crash_back_off_reset: self.crash_back_off_reset,
            log_file_bytes_max: self.log_file_bytes_max,
            log_kept_after_exit: self.log_kept_after_exit,
        }
    }
}

/// The node process does not stay in the directory that a relative path is seen from.
pub(super) fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

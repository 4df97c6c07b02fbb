//! The configuration file as it is written.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use dormouse_spec::{Bytes, MountPath, Registry};
use serde::Deserialize;

use super::{
    bounds::{Auto, SearchList, bytes, integer, seconds, some_percent},
    defaults::Defaults,
    error::Fault,
};

const MIB: u64 = 1 << 20;
const DAY_SECONDS: u64 = 24 * 3600;

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ConfigFile {
    pub(super) node: Node,
    pub(super) gateway: Gateway,
    pub(super) sandbox: Sandbox,
    pub(super) pool: Pool,
    pub(super) images: Images,
    pub(super) endpoint: Endpoint,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Node {
    pub(super) user: String,
    pub(super) admin_group: String,
    pub(super) data: PathBuf,
    pub(super) run: PathBuf,
    pub(super) memory_budget: Auto<Bytes>,
    pub(super) prepare_models: bool,
    #[serde(deserialize_with = "seconds::<_, 1, DAY_SECONDS>")]
    pub(super) drain_deadline: Duration,
}

/// Who may call, before there are tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Auth {
    /// Everyone on this machine; no other address may be listened on.
    Loopback,
    /// Everyone who reaches the address.
    None,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Gateway {
    pub(super) listen: SocketAddr,
    pub(super) auth: Auth,
    #[serde(deserialize_with = "bytes::<_, 1024, { 4096 * MIB }>")]
    pub(super) body_bytes_max: u64,
    // hyper refuses to read with less than 8 KiB.
    #[serde(deserialize_with = "bytes::<_, 8192, MIB>")]
    pub(super) head_bytes_max: u64,
    #[serde(deserialize_with = "seconds::<_, 1, 3600>")]
    pub(super) head_timeout: Duration,
    #[serde(deserialize_with = "seconds::<_, 1, 3600>")]
    pub(super) client_wait: Duration,
    #[serde(deserialize_with = "bytes::<_, 1, { 1024 * MIB }>")]
    pub(super) client_rate_min: u64,
    #[serde(deserialize_with = "integer::<_, 1, 65_536>")]
    pub(super) connections_max: u64,
    #[serde(deserialize_with = "integer::<_, 1, 10_000>")]
    pub(super) streams_per_connection_max: u64,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Sandbox {
    // Below are the uids of people and system services.
    #[serde(deserialize_with = "integer::<_, 65_536, { u32::MAX as u64 - 1 }>")]
    pub(super) uid_base: u64,
    #[serde(deserialize_with = "integer::<_, 1, 16_777_216>")]
    pub(super) uid_count: u64,
    // Behind the first come 65,535 more, none of which may be the last number.
    #[serde(deserialize_with = "integer::<_, 65_536, { u32::MAX as u64 - 65_537 }>")]
    pub(super) image_id_base: u64,
    pub(super) host_paths: Vec<HostPath>,
    pub(super) onnxruntime: SearchList,
}

/// A directory or a file of the machine's that manifests may mount.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HostPath {
    pub(super) path: MountPath,
    #[serde(default)]
    pub(super) read_only: bool,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Pool {
    #[serde(deserialize_with = "integer::<_, 0, 64>")]
    pub(super) size: u64,
    #[serde(deserialize_with = "bytes::<_, { 16 * MIB }, { 1024 * MIB }>")]
    pub(super) memory: u64,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Images {
    pub(super) insecure_registries: BTreeSet<Registry>,
    pub(super) mirrors: BTreeMap<Registry, Vec<Registry>>,
    pub(super) credentials: PathBuf,
    #[serde(deserialize_with = "bytes::<_, MIB, { 1024 * 1024 * MIB }>")]
    pub(super) layer_bytes_max: u64,
    #[serde(deserialize_with = "some_percent::<_, 2, 100>")]
    pub(super) gc_high_threshold_percent: Option<u8>,
    #[serde(deserialize_with = "some_percent::<_, 1, 99>")]
    pub(super) gc_low_threshold_percent: Option<u8>,
    #[serde(deserialize_with = "seconds::<_, 0, { 30 * DAY_SECONDS }>")]
    pub(super) minimum_gc_age: Duration,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Endpoint {
    pub(super) defaults: Defaults,
    pub(super) crash_back_off: CrashBackOff,
    pub(super) logs: Logs,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct CrashBackOff {
    #[serde(deserialize_with = "seconds::<_, 1, DAY_SECONDS>")]
    pub(super) first: Duration,
    #[serde(deserialize_with = "seconds::<_, 1, DAY_SECONDS>")]
    pub(super) max: Duration,
    #[serde(deserialize_with = "seconds::<_, 1, DAY_SECONDS>")]
    pub(super) reset_after: Duration,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Logs {
    #[serde(deserialize_with = "bytes::<_, 4096, { 1024 * MIB }>")]
    pub(super) file_bytes_max: u64,
    #[serde(deserialize_with = "seconds::<_, 0, { 30 * DAY_SECONDS }>")]
    pub(super) kept_after_exit: Duration,
}

impl ConfigFile {
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        toml::from_str(text).map_err(|error| Fault::new(text, error))
    }
}

impl Default for Node {
    fn default() -> Self {
        Self {
            user: "dormouse".to_owned(),
            admin_group: "dormouse-admin".to_owned(),
            data: "/var/lib/dormouse".into(),
            run: "/run/dormouse".into(),
            memory_budget: Auto::Auto,
            prepare_models: true,
            drain_deadline: Duration::from_secs(30),
        }
    }
}

impl Default for Gateway {
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 8080).into(),
            auth: Auth::Loopback,
            body_bytes_max: 64 * MIB,
            head_bytes_max: 64 << 10,
            head_timeout: Duration::from_secs(60),
            client_wait: Duration::from_secs(20),
            client_rate_min: 16 << 10,
            connections_max: 1024,
            streams_per_connection_max: 256,
        }
    }
}

impl Default for Sandbox {
    fn default() -> Self {
        let searched = [
            "../lib/dormouse/libonnxruntime.so",
            "../setup/onnxruntime/libonnxruntime.so",
            "/usr/lib/dormouse/libonnxruntime.so",
            "/usr/local/lib/libonnxruntime.so",
        ];
        Self {
            uid_base: 1_879_048_192,
            uid_count: 65_536,
            image_id_base: 1_879_113_728,
            host_paths: Vec::new(),
            onnxruntime: SearchList(searched.map(PathBuf::from).to_vec()),
        }
    }
}

impl Default for Pool {
    fn default() -> Self {
        Self { size: 2, memory: 32 * MIB }
    }
}

impl Default for Images {
    fn default() -> Self {
        Self {
            insecure_registries: BTreeSet::new(),
            mirrors: BTreeMap::new(),
            credentials: "/etc/dormouse/registries.json".into(),
            layer_bytes_max: 16 * 1024 * MIB,
            gc_high_threshold_percent: None,
            gc_low_threshold_percent: None,
            minimum_gc_age: Duration::from_secs(120),
        }
    }
}

impl Default for CrashBackOff {
    fn default() -> Self {
        Self { first: Duration::from_secs(1), max: Duration::from_secs(60), reset_after: Duration::from_secs(600) }
    }
}

impl Default for Logs {
    fn default() -> Self {
        Self { file_bytes_max: MIB, kept_after_exit: Duration::from_secs(600) }
    }
}

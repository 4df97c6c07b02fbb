//! The container of an endpoint that is an image, as it was asked for.

mod app_protocol;
mod contract;
mod network;
mod non_root;
mod probe;
mod stop_signal;
mod volume;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use app_protocol::AppProtocol;
pub use contract::{Contract, ContractError};
pub use network::{Network, NetworkError};
pub use non_root::NonRootError;
pub use probe::{Probe, ProbeHandler};
pub use stop_signal::{StopSignal, StopSignalError};
pub use volume::{
    EMPTY_DIR_DISK_DEFAULT, FileContents, FilePath, FilePathError, HostPathType, Medium, MountPath, MountPathError,
    VOLUME_BYTES_MAX, VOLUME_FILES_MAX, VOLUME_MOUNTS_MAX, Volume, VolumeFile, VolumeMount,
};

use crate::ImageReference;

/// Where a container listens that does not say: Knative's `$PORT`.
pub const PORT_DEFAULT: u16 = 8080;
/// Variables that one container may be given beside its image's.
pub const ENV_MAX: usize = 1024;
/// Words of `command` and of `args`, each.
pub const WORDS_MAX: usize = 1024;
/// What `command`, `args` and `env` of one container may have together, in bytes, where the process finds them.
pub const PROCESS_BYTES_MAX: usize = 40 << 10;

/// Names as in Kubernetes' `Container`. What is `None` or empty is the image's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Container {
    pub image: ImageReference,
    /// In place of the image's entrypoint; its `cmd` is then left out too, as Kubernetes does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// In place of the image's `cmd`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Over the image's; the last of a name counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<EnvVar>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// Where it listens. None: where its image says, if that is one TCP port; else [`PORT_DEFAULT`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// What is spoken there.
    #[serde(default, skip_serializing_if = "AppProtocol::is_http1")]
    pub app_protocol: AppProtocol,
    /// What it keeps to, which says what nothing else does.
    #[serde(default, skip_serializing_if = "Contract::is_auto")]
    pub contract: Contract,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_as_user: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_as_group: Option<u32>,
    /// Whether it may not run as root, which [`check_non_root`](Self::check_non_root) checks once the image is known.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub run_as_non_root: bool,
    /// Whether nothing but /tmp, /dev/shm and volumes can be written.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only_root_filesystem: bool,
    /// When it takes requests, for as long as it lives. None: it is not looked at again once it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readiness_probe: Option<Probe>,
    /// When it has started, which is asked before the readiness probe, and not again. Where there is neither, what its
    /// contract says, else that something listens on its port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub startup_probe: Option<Probe>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volume_mounts: Vec<VolumeMount>,
    #[serde(default, skip_serializing_if = "Network::is_none")]
    pub network: Network,
    /// Whether it lives, once it has taken requests. None: it is not looked at for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub liveness_probe: Option<Probe>,
}

impl Container {
    /// The image as it is, listening where it says.
    #[must_use]
    pub fn of(image: ImageReference) -> Self {
        Self {
            image,
            command: Vec::new(),
            args: Vec::new(),
            env: Vec::new(),
            working_dir: None,
            port: None,
            app_protocol: AppProtocol::Http1,
            contract: Contract::Auto,
            run_as_user: None,
            run_as_group: None,
            run_as_non_root: false,
            read_only_root_filesystem: false,
            readiness_probe: None,
            startup_probe: None,
            volume_mounts: Vec::new(),
            network: Network::None,
            liveness_probe: None,
        }
    }

    /// What has to go well, one after the other, before it takes requests for the first time.
    pub fn start_probes(&self) -> impl Iterator<Item = &Probe> {
        self.startup_probe.iter().chain(&self.readiness_probe)
    }
}

/// One variable of an environment. Its value may be a secret and is not shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct EnvVar {
    name: String,
    value: String,
}

/// Why a name and a value are no variable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvVarError {
    #[error("a variable has a name, of no NUL and no `=`")]
    Name,
    #[error("the value of `{0}` holds a NUL")]
    Value(String),
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    value: String,
}

impl EnvVar {
    /// # Errors
    /// Where no process could be given it.
    pub fn new(name: String, value: String) -> Result<Self, EnvVarError> {
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(EnvVarError::Name);
        }
        if value.contains('\0') {
            return Err(EnvVarError::Value(name));
        }
        Ok(Self { name, value })
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }
}

impl TryFrom<Written> for EnvVar {
    type Error = EnvVarError;

    fn try_from(Written { name, value }: Written) -> Result<Self, EnvVarError> {
        Self::new(name, value)
    }
}

impl From<EnvVar> for Written {
    fn from(EnvVar { name, value }: EnvVar) -> Self {
        Self { name, value }
    }
}

impl fmt::Debug for EnvVar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnvVar").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_container_survives_json_and_says_only_what_was_asked() {
        let plain = Container::of("busybox:1.36".parse().unwrap());
        let text = serde_json::to_string(&plain).unwrap();
        assert_eq!(text, r#"{"image":"docker.io/library/busybox:1.36"}"#);
        let full = Container {
            args: vec!["-v".to_owned()],
            env: vec![EnvVar::new("A".to_owned(), "1".to_owned()).unwrap()],
            port: Some(80),
            app_protocol: AppProtocol::H2c,
            contract: Contract::Raw,
            readiness_probe: Some(Probe::tcp()),
            startup_probe: Some(Probe::tcp()),
            liveness_probe: Some(Probe::tcp()),
            read_only_root_filesystem: true,
            ..plain
        };
        let text = serde_json::to_string(&full).unwrap();
        assert_eq!(serde_json::from_str::<Container>(&text).unwrap(), full);
    }

    #[test]
    fn what_no_process_can_be_given_is_no_variable() {
        for name in ["", "A=B", "A\0"] {
            assert_eq!(EnvVar::new(name.to_owned(), String::new()), Err(EnvVarError::Name), "{name:?}");
        }
        assert_eq!(EnvVar::new("A".to_owned(), "\0".to_owned()), Err(EnvVarError::Value("A".to_owned())));
        assert!(serde_json::from_str::<EnvVar>(r#"{"name":"","value":""}"#).is_err());
    }

    #[test]
    fn a_value_is_not_shown() {
        let secret = EnvVar::new("TOKEN".to_owned(), "hunter2".to_owned()).unwrap();
        assert!(!format!("{secret:?}").contains("hunter2"));
    }
}

//! What is mounted in a container beside its image: `volumes` and `volumeMounts` of Kubernetes, put together.

mod file;
mod mount_path;

use serde::{Deserialize, Serialize};

pub use file::{FileContents, FilePath, FilePathError, VolumeFile};
pub use mount_path::{MountPath, MountPathError};

use crate::Bytes;

/// Mounts of one container.
pub const VOLUME_MOUNTS_MAX: usize = 64;
/// Files of one volume.
pub const VOLUME_FILES_MAX: usize = 1_024;
/// What the files of all volumes of one container have together, in bytes: as much as a config map of Kubernetes.
pub const VOLUME_BYTES_MAX: usize = 1 << 20;
/// What an `emptyDir` on disk may hold that does not say.
pub const EMPTY_DIR_DISK_DEFAULT: Bytes = Bytes::from_mebibytes(1_024);

/// One volume where it is seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VolumeMount {
    /// As the pod calls it, for errors.
    pub name: String,
    pub mount_path: MountPath,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
    pub volume: Volume,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Volume {
    /// Empty when the replica begins, and gone with it.
    #[serde(rename_all = "camelCase")]
    EmptyDir {
        medium: Medium,
        /// None: [`EMPTY_DIR_DISK_DEFAULT`] on disk, and the size of /tmp in memory.
        size_limit: Option<Bytes>,
    },
    /// A directory or a file of the node's, which its configuration has to allow.
    HostPath {
        path: MountPath,
        #[serde(default, skip_serializing_if = "HostPathType::is_any")]
        r#type: HostPathType,
    },
    /// A directory with the files of config maps and secrets. Nobody can change them.
    Files { files: Vec<VolumeFile> },
    /// One such file, where a mount names it by its `subPath`.
    File { file: VolumeFile },
}

/// What has to be at a path of the node's: `type` of a `hostPath`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum HostPathType {
    #[default]
    #[serde(rename = "")]
    Any,
    Directory,
    File,
}

impl HostPathType {
    fn is_any(&self) -> bool {
        *self == Self::Any
    }
}

/// What an `emptyDir` is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Medium {
    /// The node's disk; all of its size is set aside while the replica lives.
    Disk,
    /// Memory of the replica.
    Memory,
}

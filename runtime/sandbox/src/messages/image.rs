//! What is said of processes of images.

use dormouse_spec::{Bytes, Digest, EnvVar, HostPathType, MountPath, Network, StopSignal};
use serde::{Deserialize, Serialize};

/// A process of an image. It listens inside its own network namespace, where the node reaches it by
/// sockets that were made there: [`super::Request::Socket`]. When it takes requests is for the node to see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImagePayload {
    /// Names of unpacked layers, the lowest first: [`super::Event::LayerUnpacked`].
    pub layers: Vec<Digest>,
    /// The program and its arguments. One without a slash is looked for in the `PATH` it is given.
    pub args: Vec<String>,
    /// All of its environment but for `HOME`, and `PATH` and `HOSTNAME` where they are not in it.
    pub env: Vec<EnvVar>,
    /// Absolute, in the container.
    pub working_dir: String,
    pub user: ImageUser,
    pub stop_signal: StopSignal,
    /// Whether nothing but /tmp and /dev/shm can be written.
    pub read_only_root: bool,
    /// None is at a path of another, and who is below another comes after it.
    pub volumes: Vec<ImageVolume>,
    pub network: Network,
    /// What can be run beside it, each a program and its arguments: [`SocketKind::Orders`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<Vec<String>>,
}

/// Which way into a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SocketKind {
    /// A TCP socket in its network namespace that is connected to nothing.
    Network,
    /// That by which what runs [`ImagePayload::commands`] is given orders and reports: [`crate::commands`]. There is
    /// one, whoever holds it.
    Orders,
}

/// What is mounted beside the layers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageVolume {
    pub at: MountPath,
    pub read_only: bool,
    pub source: VolumeSource,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum VolumeSource {
    /// Memory of the replica, empty.
    Memory { bytes: Bytes },
    /// So much of the daemon's disk, empty.
    Disk { bytes: Bytes },
    /// A directory with files: what the file of this name in the node's store of configuration says.
    Files { contents: Digest },
    /// The only one of such files.
    File { contents: Digest },
    /// A directory or a file of the host's that the daemon's own configuration lends to replicas, or that is in one.
    Host { path: MountPath, r#type: HostPathType },
}

/// As whom a process of an image runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageUser {
    /// As the image writes it: empty for root, `user`, `uid`, `user:group` or `uid:gid`. Names are looked for in
    /// the image's own /etc/passwd and /etc/group.
    pub of_image: String,
    /// In place of the image's.
    pub uid: Option<u32>,
    /// In place of the image's.
    pub gid: Option<u32>,
}

/// What the contents of one volume of files may take in the store of configuration, in bytes.
pub const VOLUME_BYTES_MAX: u64 = 1 << 20;
/// Layers of one replica at most, as many as a chain of overlays is promised to hold.
pub const LAYERS_MAX: usize = 127;
/// What arguments and environment of a process of an image may take in a message, in bytes, so that the
/// message holds it and the rest.
pub const PROCESS_BYTES_MAX: usize = 40 << 10;

/// As whom the host sees processes of images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageIdsMode {
    /// Each replica has a range of ids of its own.
    Distinct,
    /// All have that of images' files, since this machine cannot show a layer with other ids.
    Shared { reason: String },
}

//! What is said of images.

use std::collections::BTreeMap;

use dormouse_controller::{
    Collected, DiskUse, GcThresholds, ImageContent, ImageProgress, ImageView, LayerView, Removed,
};
use dormouse_image::registry::Keyring;
use dormouse_spec::{Bytes, Digest, ImageReference};
use serde::{Deserialize, Serialize};

/// `GET /v1/images/REFERENCE`, and a list of them without `details` is `GET /v1/images`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageStatus {
    pub reference: ImageReference,
    /// Of the manifest for this machine.
    pub digest: Digest,
    /// What its registry calls it: the same, or the index that the manifest was chosen from; `null` of an
    /// image that was imported.
    pub source_digest: Option<Digest>,
    /// `null`, as the sizes, where it cannot be read.
    pub platform: Option<String>,
    /// Milliseconds since 1970.
    pub named_at_ms: u64,
    /// When it was last pulled, imported or deployed, or an endpoint gave it up, in milliseconds since 1970; `null`
    /// where that cannot be told.
    #[serde(default)]
    pub last_used_at_ms: Option<u64>,
    /// All layers, as they are stored.
    pub bytes: Option<Bytes>,
    /// All layers, unpacked; `null` where one is not.
    pub unpacked_bytes: Option<Bytes>,
    /// `null` in a list.
    pub details: Option<ImageDetails>,
    /// Why it cannot be used.
    pub problem: Option<String>,
}

/// The disk that images are on, as `df` counts it, and when they make room on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageDiskStatus {
    pub capacity: Bytes,
    pub used: Bytes,
    /// `null` where images never make room.
    pub gc_high_threshold_percent: Option<u8>,
    pub gc_low_threshold_percent: Option<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageDetails {
    pub config: ImageDefaults,
    /// The lowest first.
    pub layers: Vec<LayerStatus>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerStatus {
    pub digest: Digest,
    pub diff_id: Digest,
    /// As it is stored.
    pub bytes: Bytes,
    /// `null` where it is not unpacked, as for the rest.
    pub unpacked_bytes: Option<Bytes>,
    pub entries: Option<u64>,
    pub left_out: Option<LeftOutStatus>,
}

/// What of a layer is not in its tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOutStatus {
    pub devices: u64,
    /// Extended attributes.
    pub attributes: u64,
    /// Another storage driver's notes to itself.
    pub notes: u64,
    /// The first few of them.
    pub named: Vec<String>,
}

/// What a container of the image starts with, where nobody says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageDefaults {
    pub user: String,
    pub env: Vec<String>,
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    pub working_dir: String,
    pub exposed_ports: Vec<String>,
    pub stop_signal: Option<String>,
    pub labels: BTreeMap<String, String>,
}

/// `POST /v1/images/pull`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PullOrder {
    pub reference: ImageReference,
    /// The caller's, by registry; for others the node's own are used, if it has some.
    #[serde(default)]
    pub credentials: Keyring,
}

/// `POST /v1/images/import`, with the descriptor of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportOrder {
    /// For the only image of the archive, instead of the archive's own.
    #[serde(default)]
    pub name: Option<ImageReference>,
}

/// `POST /v1/images/export`, with the descriptor that the archive is written to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportOrder {
    pub references: Vec<ImageReference>,
}

/// `POST /v1/images/remove`; `POST /v1/images/prune` takes no body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoveOrder {
    pub references: Vec<ImageReference>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedStatus {
    pub images: Vec<ImageReference>,
    /// Of blobs that no other image needs.
    pub bytes: Bytes,
    /// Unpacked layers that no other image needs.
    pub layers: usize,
    /// The rest goes when what is being stored is done, or at the next start.
    pub is_incomplete: bool,
}

/// One line of the answer to a pull, an import or an export; the last is one of the last three.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum ImageEvent {
    Progress {
        bytes_done: u64,
        /// 0 while it is not known.
        bytes_total: u64,
        layers_unpacked: usize,
        layers_total: usize,
    },
    /// In the store, unpacked and named.
    Stored {
        images: Vec<ImageStatus>,
    },
    Exported {
        images: usize,
        bytes: Bytes,
    },
    Failed {
        status: u16,
        error: String,
    },
}

impl ImageStatus {
    pub(in crate::admin) fn brief(view: &ImageView) -> Self {
        Self {
            reference: view.reference.clone(),
            digest: view.digest,
            source_digest: view.source,
            platform: view.platform.as_ref().map(ToString::to_string),
            named_at_ms: view.named_at.saturating_mul(1_000),
            last_used_at_ms: view.last_used_at.map(|at| u64::try_from(at.as_millis()).unwrap_or(u64::MAX)),
            bytes: view.bytes,
            unpacked_bytes: view.unpacked_bytes,
            details: None,
            problem: view.problem.clone(),
        }
    }

    pub(in crate::admin) fn of(view: &ImageView, content: Option<&ImageContent>) -> Self {
        Self { details: content.map(ImageDetails::from), ..Self::brief(view) }
    }
}

impl From<(DiskUse, Option<GcThresholds>)> for ImageDiskStatus {
    fn from((disk, thresholds): (DiskUse, Option<GcThresholds>)) -> Self {
        Self {
            capacity: disk.capacity,
            used: disk.used(),
            gc_high_threshold_percent: thresholds.map(|thresholds| thresholds.high_percent()),
            gc_low_threshold_percent: thresholds.map(|thresholds| thresholds.low_percent()),
        }
    }
}

impl From<&LayerView> for LayerStatus {
    fn from(layer: &LayerView) -> Self {
        let unpacked = layer.unpacked.as_ref();
        Self {
            digest: layer.digest,
            diff_id: layer.diff_id,
            bytes: layer.bytes,
            unpacked_bytes: unpacked.map(|unpacked| unpacked.bytes),
            entries: unpacked.map(|unpacked| unpacked.entries),
            left_out: unpacked.map(|unpacked| LeftOutStatus {
                devices: unpacked.left_out.devices,
                attributes: unpacked.left_out.attributes,
                notes: unpacked.left_out.notes,
                named: unpacked.left_out.named.clone(),
            }),
        }
    }
}

impl From<&ImageContent> for ImageDetails {
    fn from(content: &ImageContent) -> Self {
        Self { config: content.into(), layers: content.layers.iter().map(LayerStatus::from).collect() }
    }
}

impl From<&ImageContent> for ImageDefaults {
    fn from(content: &ImageContent) -> Self {
        let config = content.config.clone();
        Self {
            user: config.user,
            env: config.env.into_iter().map(|(name, value)| format!("{name}={value}")).collect(),
            entrypoint: config.entrypoint,
            cmd: config.cmd,
            working_dir: config.working_dir,
            exposed_ports: config.exposed_ports.iter().map(ToString::to_string).collect(),
            stop_signal: config.stop_signal,
            labels: config.labels,
        }
    }
}

impl From<Removed> for RemovedStatus {
    fn from(Removed { images, freed }: Removed) -> Self {
        let Collected { bytes, layers, is_incomplete } = freed;
        Self { images: images.into_iter().collect(), bytes, layers, is_incomplete }
    }
}

impl From<ImageProgress> for ImageEvent {
    fn from(progress: ImageProgress) -> Self {
        let ImageProgress { bytes_done, bytes_total, layers_unpacked, layers_total } = progress;
        Self::Progress { bytes_done, bytes_total, layers_unpacked, layers_total }
    }
}

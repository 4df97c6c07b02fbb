use std::time::Duration;

use dormouse_image::{
    NamedImage,
    oci::{ImageConfig, Layer, Platform},
};
use dormouse_sandbox::messages::LeftOut;
use dormouse_spec::{Bytes, Digest, ImageReference};

use super::layers::LayerRecord;

/// An image of the store.
#[derive(Debug, Clone)]
pub struct ImageView {
    pub reference: ImageReference,
    /// Of the manifest for this machine's platform.
    pub digest: Digest,
    /// What its registry calls it: the same, or the index that the manifest was chosen from. None of an
    /// image that was imported.
    pub source: Option<Digest>,
    /// When it got its name, in seconds since 1970.
    pub named_at: u64,
    /// Since 1970, when it was last pulled, imported or deployed, or an endpoint gave it up; none where that cannot be
    /// told.
    pub last_used_at: Option<Duration>,
    /// None where something of it cannot be read; so are the sizes, and `problem` says what it is.
    pub platform: Option<Platform>,
    /// All layers, as they are stored.
    pub bytes: Option<Bytes>,
    /// All layers, unpacked; none where one is not.
    pub unpacked_bytes: Option<Bytes>,
    pub problem: Option<String>,
}

/// What an image is made of.
#[derive(Debug, Clone)]
pub struct ImageContent {
    pub config: ImageConfig,
    /// The lowest first.
    pub layers: Vec<LayerView>,
}

/// One layer of an image.
#[derive(Debug, Clone)]
pub struct LayerView {
    pub digest: Digest,
    pub diff_id: Digest,
    /// As it is stored and sent.
    pub bytes: Bytes,
    /// None where it is not unpacked.
    pub unpacked: Option<UnpackedView>,
}

/// A layer on disk.
#[derive(Debug, Clone)]
pub struct UnpackedView {
    /// Of its archive, decompressed.
    pub bytes: Bytes,
    pub entries: u64,
    /// What of it is not in its tree.
    pub left_out: LeftOut,
}

impl ImageContent {
    /// All layers as they are stored.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        self.layers.iter().fold(Bytes::default(), |sum, layer| sum.saturating_add(layer.bytes))
    }

    /// All layers as they are unpacked; none where one is not.
    #[must_use]
    pub fn unpacked_bytes(&self) -> Option<Bytes> {
        let unpacked = self.layers.iter().map(|layer| layer.unpacked.as_ref().map(|unpacked| unpacked.bytes.get()));
        unpacked.sum::<Option<u64>>().map(Bytes::new)
    }
}

impl ImageView {
    pub(super) fn of(named: NamedImage, content: &ImageContent) -> Self {
        Self {
            platform: Some(content.config.platform.clone()),
            bytes: Some(content.bytes()),
            unpacked_bytes: content.unpacked_bytes(),
            problem: None,
            ..Self::damaged(named, String::new())
        }
    }

    pub(super) fn damaged(named: NamedImage, problem: String) -> Self {
        let NamedImage { reference, manifest, source, named_at } = named;
        Self {
            reference,
            digest: manifest.digest,
            source,
            named_at,
            last_used_at: None,
            platform: None,
            bytes: None,
            unpacked_bytes: None,
            problem: Some(problem),
        }
    }
}

impl LayerView {
    pub(super) fn of(layer: &Layer, record: Option<LayerRecord>) -> Self {
        Self {
            digest: layer.blob.digest,
            diff_id: layer.diff_id,
            bytes: Bytes::new(layer.blob.size),
            unpacked: record.map(|record| UnpackedView {
                bytes: Bytes::new(record.bytes),
                entries: record.entries,
                left_out: record.left_out,
            }),
        }
    }
}

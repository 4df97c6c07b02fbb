use serde::{Deserialize, de::IgnoredAny};

use crate::shown::shown;

use super::{
    Descriptor, MANIFEST_BYTES_MAX, MediaType,
    document::{self, DocumentError},
    media_type::is_image_config,
};

/// Layers of one image: as many as Docker builds, and few enough for one overlay mount.
pub const LAYERS_MAX: usize = 128;
const MANIFEST: &str = "image manifest";

/// What an image consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageManifest {
    pub config: Descriptor,
    /// The lowest first.
    pub layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: u64,
    media_type: Option<String>,
    config: Descriptor,
    layers: Vec<Descriptor>,
    manifests: Option<IgnoredAny>,
}

impl ImageManifest {
    /// Reads a manifest that came as `media_type`.
    ///
    /// # Errors
    /// Where it is malformed, over a limit, another kind of document, or the manifest of something
    /// that is no container image.
    pub fn parse(bytes: &[u8], media_type: MediaType) -> Result<Self, DocumentError> {
        let document: Document = document::parse(MANIFEST, bytes, MANIFEST_BYTES_MAX)?;
        document::check_kind(MANIFEST, document.schema_version, document.media_type, media_type)?;
        document::absent(MANIFEST, "manifests", document.manifests.as_ref())?;
        document::at_most(MANIFEST, "layers", document.layers.len(), LAYERS_MAX)?;
        if !is_image_config(&document.config.media_type) {
            return Err(DocumentError::NotAnImage { media_type: shown(&document.config.media_type) });
        }
        Ok(Self { config: document.config, layers: document.layers })
    }
}

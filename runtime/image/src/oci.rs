//! The documents that images are made of, as the OCI image specification has them and as Docker wrote them
//! before: manifests, indexes and configurations. Each is bounded before it is read, and is what it came as
//! or refused. Unknown members are skipped, as the specification demands.

mod descriptor;
mod document;
mod image_config;
mod image_manifest;
mod index;
mod layer;
mod media_type;
mod platform;

pub use descriptor::Descriptor;
pub use document::{Document, DocumentError};
pub use image_config::{CONFIG_BYTES_MAX, ENV_ENTRIES_MAX, ExposedPort, ImageConfig, Protocol, WORDS_MAX};
pub use image_manifest::{ImageManifest, LAYERS_MAX};
pub use index::{INDEX_ENTRIES_MAX, ImageIndex};
pub use layer::{Compression, Layer, layers};
pub use media_type::MediaType;
pub use platform::Platform;

pub(crate) use media_type::{ACCEPTED, is_schema1};

/// A manifest or an index in bytes, the limit that registries have.
pub const MANIFEST_BYTES_MAX: usize = 4 << 20;

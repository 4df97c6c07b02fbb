//! OCI images made for tests: of any content, harmless or not, and of the same bytes on every machine.
//!
//! Entries make a [`LayerBuilder`]'s layer, layers an [`ImageBuilder`]'s image, and images a [`Layout`], which
//! is a directory that every tool reads. [`damage`] makes one claim something that is not so.

mod builder;
mod compression;
pub mod damage;
mod entry;
mod layer;
mod layout;
#[cfg(test)]
mod tests;
mod zstd_frame;

use std::fmt::Write as _;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

pub use builder::{Image, ImageBuilder, this_architecture};
pub use compression::Compression;
pub use entry::Entry;
pub use layer::{Layer, LayerBuilder};
pub use layout::{Layout, Tagged};

pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// Bytes that are found by their digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    pub media_type: String,
    pub bytes: Vec<u8>,
}

impl Blob {
    #[must_use]
    pub fn json(media_type: &str, value: &Value) -> Self {
        Self { media_type: media_type.to_owned(), bytes: value.to_string().into_bytes() }
    }

    #[must_use]
    pub fn digest(&self) -> String {
        digest(&self.bytes)
    }

    #[must_use]
    pub fn descriptor(&self) -> Value {
        json!({ "mediaType": self.media_type, "digest": self.digest(), "size": self.bytes.len() })
    }
}

/// `sha256:` and 64 hexadecimal digits.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    spelled(Sha256::new_with_prefix(bytes))
}

fn spelled(sum: Sha256) -> String {
    sum.finalize().iter().fold("sha256:".to_owned(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

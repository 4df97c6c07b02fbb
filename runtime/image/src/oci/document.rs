//! What holds for the documents of an image: manifest, index and configuration.

use serde::de::{DeserializeOwned, IgnoredAny};

use dormouse_spec::Digest;

use crate::shown::shown;

use super::{ImageIndex, ImageManifest, MediaType, platform::Platform};

/// Why a document is not one of an image that can be run here.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    #[error("the {document} is not well-formed")]
    Malformed {
        document: &'static str,
        #[source]
        source: serde_json::Error,
    },
    #[error("the {document} has {bytes} bytes, more than {max}")]
    TooLarge { document: &'static str, bytes: usize, max: usize },
    #[error("the {document} has {count} {of}, more than {max}")]
    TooMany { document: &'static str, of: &'static str, count: usize, max: usize },
    #[error("the {document} has schemaVersion {found}; only 2 is known")]
    SchemaVersion { document: &'static str, found: u64 },
    #[error("a document that came as {} calls itself `{itself}`", expected.as_str())]
    MediaType { expected: MediaType, itself: String },
    #[error("the {document} has `{member}`, which makes it another kind of document too")]
    Ambiguous { document: &'static str, member: &'static str },
    #[error("not a container image: its configuration is `{media_type}`")]
    NotAnImage { media_type: String },
    #[error("the image has {layers} layers, but its configuration lists {diff_ids}")]
    Layers { layers: usize, diff_ids: usize },
    #[error("the image configuration has a NUL character in its {member}")]
    Nul { member: &'static str },
    #[error("the image exposes `{port}`, which is no port: expected a number and `/tcp`, `/udp` or `/sctp`")]
    Port { port: String },
    #[error("the layer {layer} is `{media_type}`: expected a tar archive, as it is or compressed by gzip or zstd")]
    Layer { layer: Digest, media_type: String },
    #[error("an index leads to another index, which is not supported: that of one image leads to its manifests")]
    Nested,
    #[error("it is no container image but `{media_type}`")]
    Unknown { media_type: String },
    #[error("the image is not made for this machine ({machine}); there are: {}", list(available))]
    NoPlatform { machine: Platform, available: Vec<Platform> },
}

/// What a name can lead to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    Manifest(ImageManifest),
    Index(ImageIndex),
}

impl Document {
    /// Reads a document that came as `media_type`.
    ///
    /// # Errors
    /// See [`DocumentError`].
    pub fn parse(bytes: &[u8], media_type: MediaType) -> Result<Self, DocumentError> {
        if media_type.is_index() {
            ImageIndex::parse(bytes, media_type).map(Self::Index)
        } else {
            ImageManifest::parse(bytes, media_type).map(Self::Manifest)
        }
    }

    /// The same of a document that a descriptor leads to.
    ///
    /// # Errors
    /// See [`DocumentError`].
    pub fn parse_as(bytes: &[u8], media_type: &str) -> Result<Self, DocumentError> {
        let unknown = || DocumentError::Unknown { media_type: shown(media_type) };
        Self::parse(bytes, MediaType::parse(media_type).ok_or_else(unknown)?)
    }
}

/// An index may name hundreds of platforms; people read a line.
const PLATFORMS_SHOWN_MAX: usize = 24;

fn list(platforms: &[Platform]) -> String {
    if platforms.is_empty() {
        return "none".to_owned();
    }
    let shown: Vec<_> =
        platforms.iter().take(PLATFORMS_SHOWN_MAX).map(|platform| shown(&platform.to_string())).collect();
    let more = platforms.len().saturating_sub(PLATFORMS_SHOWN_MAX);
    if more == 0 { shown.join(", ") } else { format!("{} and {more} more", shown.join(", ")) }
}

/// Reads a document, but never one over `max` bytes.
pub(super) fn parse<T: DeserializeOwned>(document: &'static str, bytes: &[u8], max: usize) -> Result<T, DocumentError> {
    if bytes.len() > max {
        return Err(DocumentError::TooLarge { document, bytes: bytes.len(), max });
    }
    serde_json::from_slice(bytes).map_err(|source| DocumentError::Malformed { document, source })
}

pub(super) fn at_most(document: &'static str, of: &'static str, count: usize, max: usize) -> Result<(), DocumentError> {
    if count <= max { Ok(()) } else { Err(DocumentError::TooMany { document, of, count, max }) }
}

/// A document must be what it came as. Otherwise one digest means different things to those who
/// believe the header and those who believe the document.
pub(super) fn check_kind(
    document: &'static str,
    schema_version: u64,
    itself: Option<String>,
    expected: MediaType,
) -> Result<(), DocumentError> {
    if schema_version != 2 {
        return Err(DocumentError::SchemaVersion { document, found: schema_version });
    }
    match itself {
        Some(itself) if MediaType::parse(&itself) != Some(expected) => {
            Err(DocumentError::MediaType { expected, itself: shown(&itself) })
        }
        _ => Ok(()),
    }
}

/// A member that must not be there; its value does not matter.
pub(super) fn absent(
    document: &'static str,
    member: &'static str,
    found: Option<&IgnoredAny>,
) -> Result<(), DocumentError> {
    found.map_or(Ok(()), |_| Err(DocumentError::Ambiguous { document, member }))
}

use dormouse_spec::Digest;
use serde::{Deserialize, de::IgnoredAny};

use super::{
    Descriptor, MANIFEST_BYTES_MAX, MediaType,
    document::{self, DocumentError},
    platform::Platform,
};

/// Entries of one index. Images that are built for everything have some dozens.
pub const INDEX_ENTRIES_MAX: usize = 512;
const INDEX: &str = "image index";

/// An image index, or a Docker manifest list: the same image for several platforms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageIndex {
    entries: Vec<Entry>,
    /// It leads to other indexes, whatever else it leads to.
    is_nested: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    manifest: Descriptor,
    media_type: MediaType,
    platform: Option<Platform>,
}

// Nothing is flattened: that would keep members that nobody reads, at many times their length.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: u64,
    media_type: Option<String>,
    manifests: Vec<DocumentEntry>,
    config: Option<IgnoredAny>,
    layers: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DocumentEntry {
    media_type: String,
    digest: Digest,
    size: u64,
    platform: Option<Platform>,
}

impl ImageIndex {
    /// Reads an index that came as `media_type`. Entries that are no manifests of images are left
    /// out: what else may be in an index has no use here.
    ///
    /// # Errors
    /// Where it is malformed, over a limit, or another kind of document.
    pub fn parse(bytes: &[u8], media_type: MediaType) -> Result<Self, DocumentError> {
        let document: Document = document::parse(INDEX, bytes, MANIFEST_BYTES_MAX)?;
        document::check_kind(INDEX, document.schema_version, document.media_type, media_type)?;
        document::absent(INDEX, "config", document.config.as_ref())?;
        document::absent(INDEX, "layers", document.layers.as_ref())?;
        document::at_most(INDEX, "entries", document.manifests.len(), INDEX_ENTRIES_MAX)?;
        let is_index = |entry: &DocumentEntry| MediaType::parse(&entry.media_type).is_some_and(MediaType::is_index);
        let is_nested = document.manifests.iter().any(is_index);
        Ok(Self { entries: document.manifests.into_iter().filter_map(Entry::read).collect(), is_nested })
    }

    /// The manifest for `machine` and its media type: the best that runs there, the first of
    /// several that are as good. One that names no platform is taken where nothing else is left;
    /// the image's configuration then tells whether it fits.
    ///
    /// # Errors
    /// [`DocumentError::NoPlatform`] with the platforms that there are; [`DocumentError::Nested`] where it leads to nothing
    /// but other indexes.
    pub fn choose(&self, machine: &Platform) -> Result<(&Descriptor, MediaType), DocumentError> {
        self.entries
            .iter()
            .filter_map(|entry| Some((entry.rank(machine)?, entry)))
            .min_by_key(|(rank, _)| *rank)
            .map(|(_, entry)| (&entry.manifest, entry.media_type))
            .ok_or_else(|| match self.entries.is_empty() && self.is_nested {
                true => DocumentError::Nested,
                false => DocumentError::NoPlatform { machine: machine.clone(), available: self.platforms() },
            })
    }

    fn platforms(&self) -> Vec<Platform> {
        let named = self.entries.iter().filter_map(|entry| entry.platform.as_ref());
        named.filter(|platform| !platform.is_unknown()).cloned().collect()
    }
}

impl Entry {
    fn read(entry: DocumentEntry) -> Option<Self> {
        let media_type = MediaType::parse(&entry.media_type).filter(|found| !found.is_index())?;
        let manifest = Descriptor { media_type: entry.media_type, digest: entry.digest, size: entry.size };
        Some(Self { manifest, media_type, platform: entry.platform })
    }

    fn rank(&self, machine: &Platform) -> Option<u8> {
        self.platform.as_ref().map_or(Some(u8::MAX), |platform| machine.rank(platform))
    }
}

#[cfg(test)]
mod tests;

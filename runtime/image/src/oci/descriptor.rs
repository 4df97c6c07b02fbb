use dormouse_spec::Digest;
use serde::{Deserialize, Serialize};

/// Content that a document of an image refers to. Addresses and data that a descriptor may carry
/// besides are not read: content comes from the image's own repository only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    pub media_type: String,
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
}

//! With what a replica runs: models from a caller's files to content-addressed directories on disk.
//!
//! [`open_model`] is what a command line does, with its caller's rights: it finds a model's files
//! and opens them. [`ModelStore`] is what the node does: it copies what it is handed, by content,
//! and never opens a path that somebody else named. [`PreparedStore`] keeps what was made of them.

mod content;
pub mod oci;
pub mod onnx;
mod opener;
pub mod registry;
mod relative_path;
#[cfg(test)]
mod sample;
mod shown;
mod store;

pub use content::file_digest;
pub use opener::{OpenError, open_model};
pub use relative_path::{RelativePath, RelativePathError};
pub use store::{
    ArchiveError, BlobWriter, DiskUse, Exported, Freed, ImageStore, ImageStoreError, Imported, ImportedImage, LastUse,
    ModelStore, NamedImage, PreparedModel, PreparedRecord, PreparedStore, StoreError, StoreLimits, StoredBlob,
    StoredModel, Verified,
};

use std::os::fd::OwnedFd;

/// The name of the graph among a model's files.
pub const MODEL_FILE: &str = "model.onnx";
/// Files of one model: the graph and its external data.
pub const MODEL_FILES_MAX: usize = 128;

/// One file of a model, open for reading.
#[derive(Debug)]
pub struct ModelFile {
    /// [`MODEL_FILE`], or what the model calls its external data.
    pub path: RelativePath,
    pub file: OwnedFd,
}

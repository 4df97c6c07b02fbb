//! Standard manifests and how they become an [`EndpointRequest`].
//!
//! Nothing a manifest says is dropped in silence: a field is honoured, or it is an error, or it is
//! a [`Note`].

mod document;
mod error;
mod field;
mod inference_service;
mod kserve;
mod metadata;
mod note;
mod resources;
mod spelling;
mod storage;

use std::collections::HashSet;

use crate::EndpointRequest;

pub use error::{ManifestError, Position, Problem};
pub use note::Note;
pub use storage::{FileUri, FileUriError};

/// A manifest is written by people: more text than this is a mistake or an attack.
pub const MANIFEST_BYTES_MAX: usize = 256 * 1024;
/// Documents in one file.
pub const DOCUMENTS_MAX: usize = 64;

/// One document of a manifest file, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    pub endpoint: EndpointRequest,
    /// Where the model is, on the machine of whoever deploys.
    pub storage: FileUri,
    /// What was not honoured and what was assumed.
    pub notes: Vec<Note>,
}

/// Reads a file of `serving.kserve.io/v1beta1 InferenceService` documents, one manifest each.
/// Empty documents are skipped, as `kubectl` skips them.
///
/// # Errors
/// [`ManifestError`] tells the first thing that is wrong, with its line and column.
pub fn parse(text: &str) -> Result<Vec<Manifest>, ManifestError> {
    let manifests =
        document::read(text)?.into_iter().map(inference_service::read).collect::<Result<Vec<Manifest>, _>>()?;
    if manifests.is_empty() {
        return Err(ManifestError::Empty);
    }
    let mut names = HashSet::new();
    match manifests.iter().find(|manifest| !names.insert(&manifest.endpoint.name)) {
        Some(again) => Err(ManifestError::NamedTwice { name: again.endpoint.name.clone() }),
        None => Ok(manifests),
    }
}

#[cfg(test)]
mod tests;

//! Standard manifests and how they become an [`EndpointRequest`].
//!
//! Nothing a manifest says is dropped in silence: a field is honoured, or it is an error, or it is
//! a [`Note`].

mod container;
mod document;
mod error;
mod field;
mod inference_service;
mod knative;
mod known;
mod kserve;
mod kubernetes;
mod metadata;
mod note;
mod pod;
mod pod_spec;
mod resources;
mod service;
mod spelling;
mod storage;

use std::collections::HashSet;

use crate::{EndpointRequest, ImageReference};
use document::Node;
use field::Field;

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
    pub source: Source,
    /// What was not honoured and what was assumed.
    pub notes: Vec<Note>,
}

/// What an endpoint is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A model, on the machine of whoever deploys.
    Model(FileUri),
    /// The image of the endpoint's [`container`](EndpointRequest::container).
    Image(ImageReference),
}

/// Reads a file of `serving.kserve.io/v1beta1 InferenceService`, `serving.knative.dev/v1 Service` and
/// `v1 Pod` documents, one manifest each. Empty documents are skipped, as `kubectl` skips them.
///
/// # Errors
/// [`ManifestError`] tells the first thing that is wrong, with its line and column.
pub fn parse(text: &str) -> Result<Vec<Manifest>, ManifestError> {
    let manifests = document::read(text)?.into_iter().map(read).collect::<Result<Vec<Manifest>, _>>()?;
    if manifests.is_empty() {
        return Err(ManifestError::Empty);
    }
    let mut names = HashSet::new();
    match manifests.iter().find(|manifest| !names.insert(&manifest.endpoint.name)) {
        Some(again) => Err(ManifestError::NamedTwice { name: again.endpoint.name.clone() }),
        None => Ok(manifests),
    }
}

const KINDS: &str =
    "what is read is serving.kserve.io/v1beta1 InferenceService, serving.knative.dev/v1 Service and v1 Pod";

fn read(document: Node) -> Result<Manifest, ManifestError> {
    let mut root = Field::root(document).mapping()?;
    let (api_version, kind) = (root.required("apiVersion")?, root.required("kind")?);
    let (expected, read): (_, fn(_) -> _) = match api_version.text()? {
        inference_service::API_VERSION => (inference_service::KIND, inference_service::read),
        service::API_VERSION => (service::KIND, service::read),
        pod::API_VERSION => (pod::KIND, pod::read),
        other => return Err(api_version.unsupported(format!("`{other}`: {KINDS}"))),
    };
    match kind.text()? {
        kind if kind == expected => read(root),
        other => Err(kind.unsupported(format!("`{other}`: {KINDS}"))),
    }
}

#[cfg(test)]
mod tests;

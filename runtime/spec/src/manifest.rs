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
mod objects;
mod pod;
mod pod_spec;
mod resources;
mod service;
mod spelling;
mod storage;

use std::collections::HashSet;

use crate::{EndpointRequest, ImageReference};
use field::{Field, Mapping};
use objects::Objects;

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
/// `v1 Pod` documents, one manifest each, and the `v1 ConfigMap` and `v1 Secret` documents that they name. Empty
/// documents are skipped, as `kubectl` skips them.
///
/// # Errors
/// [`ManifestError`] tells the first thing that is wrong, with its line and column.
pub fn parse(text: &str) -> Result<Vec<Manifest>, ManifestError> {
    let (mut objects, mut endpoints) = (Objects::default(), Vec::new());
    // What a document names may come after it.
    for document in document::read(text)? {
        let mut root = Field::root(document).mapping()?;
        match read_kind(&mut root)? {
            Kind::Object(kind) => objects.read(kind, root)?,
            Kind::Endpoint(read) => endpoints.push((read, root)),
        }
    }
    let manifests = endpoints.into_iter().map(|(read, root)| read(root, &objects));
    let mut manifests = manifests.collect::<Result<Vec<Manifest>, _>>()?;
    match manifests.first_mut() {
        Some(first) => first.notes.extend(objects.into_notes()),
        None if objects.is_empty() => return Err(ManifestError::Empty),
        None => return Err(ManifestError::OnlyObjects),
    }
    let mut names = HashSet::new();
    match manifests.iter().find(|manifest| !names.insert(&manifest.endpoint.name)) {
        Some(again) => Err(ManifestError::NamedTwice { name: again.endpoint.name.clone() }),
        None => Ok(manifests),
    }
}

/// What a document is.
#[derive(Clone, Copy)]
enum Kind {
    Endpoint(fn(Mapping, &Objects) -> Result<Manifest, ManifestError>),
    Object(objects::Kind),
}

const KINDS: &str = "what is read is serving.kserve.io/v1beta1 InferenceService, serving.knative.dev/v1 Service, v1 Pod, \
                     and v1 ConfigMap and v1 Secret beside them";

fn read_kind(root: &mut Mapping) -> Result<Kind, ManifestError> {
    let (api_version, kind) = (root.required("apiVersion")?, root.required("kind")?);
    let kinds: &[(&str, Kind)] = match api_version.text()? {
        inference_service::API_VERSION => &[(inference_service::KIND, Kind::Endpoint(inference_service::read))],
        service::API_VERSION => &[(service::KIND, Kind::Endpoint(service::read))],
        pod::API_VERSION => &[
            (pod::KIND, Kind::Endpoint(pod::read)),
            (objects::CONFIG_MAP, Kind::Object(objects::Kind::ConfigMap)),
            (objects::SECRET, Kind::Object(objects::Kind::Secret)),
        ],
        other => return Err(api_version.unsupported(format!("`{other}`: {KINDS}"))),
    };
    let text = kind.text()?;
    let known = kinds.iter().find(|(name, _)| *name == text);
    known.map(|(_, kind)| *kind).ok_or_else(|| kind.unsupported(format!("`{text}`: {KINDS}")))
}

#[cfg(test)]
mod tests;

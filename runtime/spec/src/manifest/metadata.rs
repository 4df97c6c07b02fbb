use std::collections::BTreeMap;

use crate::{ANNOTATION_PREFIX, EndpointName, EndpointRequest};

use super::{
    ManifestError, Note, Problem,
    field::{Field, Mapping},
    kserve, kubernetes,
};

/// An endpoint has one namespace, the one that `kubectl` uses when told none.
const NAMESPACE: &str = "default";
/// Where a setting goes that is written beside a pod.
pub(super) const ELSEWHERE: &str = "write it under `metadata.annotations`";

/// Labels, or annotations.
pub(super) type Texts = BTreeMap<String, String>;

/// What the metadata of every kind of object have.
pub(super) struct Head {
    pub(super) name: Field,
    /// As it is written: it has no meaning of its own here.
    pub(super) namespace: String,
    /// They select and group objects of a cluster; they say nothing about this one.
    pub(super) labels: Texts,
    pub(super) annotations: Vec<(String, Field)>,
}

pub(super) struct Metadata {
    pub(super) name: EndpointName,
    pub(super) namespace: String,
    pub(super) labels: Texts,
    pub(super) annotations: Texts,
    settings: Vec<(String, Field)>,
}

pub(super) fn read(metadata: Mapping, notes: &mut Vec<Note>) -> Result<Metadata, ManifestError> {
    let Head { name, namespace, labels, annotations } = read_head(metadata, notes)?;
    let name = name.text()?.parse().map_err(|error| name.fail(Problem::Name(error)))?;
    Ok(Metadata { name, namespace, labels, annotations: written(&annotations)?, settings: annotations })
}

pub(super) fn read_head(mut metadata: Mapping, notes: &mut Vec<Note>) -> Result<Head, ManifestError> {
    let name = metadata.take("name");
    let (labels, annotations) = (metadata.take("labels"), metadata.take("annotations"));
    let namespace = match metadata.take("namespace").filter(|field| !field.is(NAMESPACE)) {
        Some(namespace) => {
            namespace.note_ignored("endpoints of this node share one namespace", notes);
            namespace.any_text()?.to_owned()
        }
        None => NAMESPACE.to_owned(),
    };
    let missing = metadata.missing("name");
    metadata.finish(&[kubernetes::METADATA], notes)?;
    let labels = labels.map(texts).transpose()?.unwrap_or_default();
    let annotations = annotations.map(texts).transpose()?.unwrap_or_default();
    Ok(Head { name: name.ok_or(missing)?, namespace, labels: written(&labels)?, annotations })
}

impl Metadata {
    /// Makes the settings of our own annotations and notes those that steer a cluster. All others
    /// are somebody else's, and carry no promise of ours.
    pub(super) fn annotate(self, request: &mut EndpointRequest, notes: &mut Vec<Note>) -> Result<(), ManifestError> {
        for (key, field) in self.settings {
            if let Some(setting) = key.strip_prefix(ANNOTATION_PREFIX) {
                field.annotate(setting, request)?;
            } else if key == kserve::STOP_ANNOTATION && field.is("true") {
                return Err(field.unsupported("`dormouse delete` stops an endpoint"));
            } else if steers_a_cluster(&key) {
                field.note_ignored(kserve::ANNOTATION_REASON, notes);
            }
        }
        Ok(())
    }
}

/// The annotations of a component, which a cluster gives to its pods.
pub(super) fn component_annotations(annotations: Field, notes: &mut Vec<Note>) -> Result<Texts, ManifestError> {
    annotations.note_ignored("a replica has no annotations", notes);
    let annotations = texts(annotations)?;
    if let Some((_, field)) = annotations.iter().find(|(key, _)| key.starts_with(ANNOTATION_PREFIX)) {
        return Err(field.unsupported(ELSEWHERE));
    }
    written(&annotations)
}

/// The labels of a component, which a cluster gives to its pods.
pub(super) fn component_labels(labels: Field, notes: &mut Vec<Note>) -> Result<Texts, ManifestError> {
    labels.note_ignored("a replica has no labels", notes);
    written(&texts(labels)?)
}

/// The fields of a mapping from names to texts, such as labels.
pub(super) fn texts(field: Field) -> Result<Vec<(String, Field)>, ManifestError> {
    let fields: Vec<_> = field.mapping()?.into_fields().collect();
    for (_, field) in &fields {
        field.any_text()?;
    }
    Ok(fields)
}

/// What those fields hold.
pub(super) fn written(fields: &[(String, Field)]) -> Result<Texts, ManifestError> {
    fields.iter().map(|(key, field)| Ok((key.clone(), field.any_text()?.to_owned()))).collect()
}

pub(super) fn steers_a_cluster(key: &str) -> bool {
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    kserve::ANNOTATION_DOMAINS
        .iter()
        .any(|steering| domain.strip_suffix(steering).is_some_and(|below| below.is_empty() || below.ends_with('.')))
}

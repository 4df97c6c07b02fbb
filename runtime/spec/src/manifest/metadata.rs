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

pub(super) struct Metadata {
    pub(super) name: EndpointName,
    /// As it is written: it has no meaning of its own here.
    pub(super) namespace: String,
    annotations: Option<Field>,
}

pub(super) fn read(mut metadata: Mapping, notes: &mut Vec<Note>) -> Result<Metadata, ManifestError> {
    let name = metadata.take("name");
    let annotations = metadata.take("annotations");
    // Labels select and group objects of a cluster; they say nothing about this one.
    if let Some(labels) = metadata.take("labels") {
        texts(labels)?;
    }
    let namespace = match metadata.take("namespace").filter(|field| !field.is(NAMESPACE)) {
        Some(namespace) => {
            namespace.note_ignored("endpoints of this node share one namespace", notes);
            namespace.any_text()?.to_owned()
        }
        None => NAMESPACE.to_owned(),
    };
    let missing = metadata.missing("name");
    metadata.finish(&[kubernetes::METADATA], notes)?;
    let name = name.ok_or(missing)?;
    let name = name.text()?.parse().map_err(|error| name.fail(Problem::Name(error)))?;
    Ok(Metadata { name, namespace, annotations })
}

impl Metadata {
    /// Makes the settings of our own annotations and notes those that steer a cluster. All others
    /// are somebody else's, and carry no promise of ours.
    pub(super) fn annotate(self, request: &mut EndpointRequest, notes: &mut Vec<Note>) -> Result<(), ManifestError> {
        let Some(annotations) = self.annotations else { return Ok(()) };
        for (key, field) in texts(annotations)? {
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
pub(super) fn component_annotations(annotations: Field, notes: &mut Vec<Note>) -> Result<(), ManifestError> {
    annotations.note_ignored("a replica has no annotations", notes);
    for (key, field) in texts(annotations)? {
        if key.starts_with(ANNOTATION_PREFIX) {
            return Err(field.unsupported(ELSEWHERE));
        }
    }
    Ok(())
}

/// The fields of a mapping from names to texts, such as labels.
pub(super) fn texts(field: Field) -> Result<Vec<(String, Field)>, ManifestError> {
    let fields: Vec<_> = field.mapping()?.into_fields().collect();
    for (_, field) in &fields {
        field.any_text()?;
    }
    Ok(fields)
}

pub(super) fn steers_a_cluster(key: &str) -> bool {
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    kserve::ANNOTATION_DOMAINS
        .iter()
        .any(|steering| domain.strip_suffix(steering).is_some_and(|below| below.is_empty() || below.ends_with('.')))
}

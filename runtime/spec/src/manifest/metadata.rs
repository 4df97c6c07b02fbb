use crate::{ANNOTATION_PREFIX, EndpointName, EndpointRequest};

use super::{
    ManifestError, Note, Problem,
    field::{Field, Mapping},
    kserve,
};

/// An endpoint has one namespace, the one that `kubectl` uses when told none.
const NAMESPACE: &str = "default";

pub(super) struct Metadata {
    pub(super) name: EndpointName,
    annotations: Option<Field>,
}

pub(super) fn read(mut metadata: Mapping, notes: &mut Vec<Note>) -> Result<Metadata, ManifestError> {
    let name = metadata.take("name");
    let annotations = metadata.take("annotations");
    // Labels select and group objects of a cluster; they say nothing about this one.
    if let Some(labels) = metadata.take("labels") {
        texts(labels)?;
    }
    if let Some(namespace) = metadata.take("namespace").filter(|field| !field.is(NAMESPACE)) {
        namespace.any_text()?;
        namespace.note_ignored("endpoints of this node share one namespace", notes);
    }
    let missing = metadata.missing("name");
    metadata.finish(kserve::METADATA, notes)?;
    let name = name.ok_or(missing)?;
    let name = name.text()?.parse().map_err(|error| name.fail(Problem::Name(error)))?;
    Ok(Metadata { name, annotations })
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
                return Err(field.fail(Problem::Unsupported("`dormouse delete` stops an endpoint".to_owned())));
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
            return Err(field.fail(Problem::Unsupported("write it under `metadata.annotations`".to_owned())));
        }
    }
    Ok(())
}

/// The fields of a mapping from names to texts, such as labels.
fn texts(field: Field) -> Result<Vec<(String, Field)>, ManifestError> {
    let fields: Vec<_> = field.mapping()?.into_fields().collect();
    for (_, field) in &fields {
        field.any_text()?;
    }
    Ok(fields)
}

fn steers_a_cluster(key: &str) -> bool {
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    kserve::ANNOTATION_DOMAINS
        .iter()
        .any(|steering| domain.strip_suffix(steering).is_some_and(|below| below.is_empty() || below.ends_with('.')))
}

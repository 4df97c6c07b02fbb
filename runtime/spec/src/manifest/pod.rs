use crate::EndpointRequest;

use super::{
    Manifest, ManifestError, Note, Source,
    field::Mapping,
    kubernetes, metadata,
    objects::Objects,
    pod_spec::{self, Owner, Standard},
};

pub(super) const API_VERSION: &str = "v1";
pub(super) const KIND: &str = "Pod";
const MIN_REPLICAS_PATH: &str = "metadata.annotations[dormouse.dev/min-replicas]";

pub(super) fn read(mut root: Mapping, objects: &Objects) -> Result<Manifest, ManifestError> {
    let mut notes = Vec::new();
    let metadata = metadata::read(root.required("metadata")?.mapping()?, &mut notes)?;
    let mut spec = root.required("spec")?.mapping()?;
    root.finish(&[kubernetes::ROOT], &mut notes)?;

    let mut endpoint = EndpointRequest::named(metadata.name.clone());
    let containers = spec.take("containers");
    let owner = Owner {
        standard: Standard::Kubernetes,
        name: &metadata.name,
        namespace: &metadata.namespace,
        labels: &metadata.labels,
        annotations: &metadata.annotations,
        objects,
    };
    let container = pod_spec::read(spec, containers, &[], &owner, &mut endpoint, &mut notes)?;
    let source = Source::Image(container.image.clone());
    endpoint.container = Some(Box::new(container));
    metadata.annotate(&mut endpoint, &mut notes)?;
    // A pod is one: a second would be a surprise to what was written to be alone.
    let at_least = endpoint.min_replicas.unwrap_or(0).max(1);
    endpoint.max_replicas.get_or_insert(at_least);
    if endpoint.min_replicas.is_none() {
        notes.push(Note::Differs {
            path: MIN_REPLICAS_PATH.to_owned(),
            here: "0 (the node's default)".to_owned(),
            standard: "Kubernetes",
            there: "1".to_owned(),
        });
    }
    Ok(Manifest { endpoint, source, notes })
}

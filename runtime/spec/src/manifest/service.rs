use crate::{ANNOTATION_PREFIX, Container, Contract, EndpointRequest};

use super::{
    Manifest, ManifestError, Note, Source,
    field::{Field, Mapping},
    knative,
    known::Known,
    kserve, kubernetes,
    metadata::{self, Metadata, Texts},
    objects::Objects,
    pod_spec::{self, Owner, Standard, keep_to},
};

pub(super) const API_VERSION: &str = "serving.knative.dev/v1";
pub(super) const KIND: &str = "Service";

pub(super) fn read(mut root: Mapping, objects: &Objects) -> Result<Manifest, ManifestError> {
    let mut notes = Vec::new();
    let metadata = metadata::read(root.required("metadata")?.mapping()?, &mut notes)?;
    let spec = root.required("spec")?.mapping()?;
    root.finish(&[kubernetes::ROOT], &mut notes)?;

    let mut endpoint = EndpointRequest::named(metadata.name.clone());
    let container = read_spec(spec, &metadata, objects, &mut endpoint, &mut notes)?;
    let source = Source::Image(container.image.clone());
    endpoint.container = Some(Box::new(container));
    metadata.annotate(&mut endpoint, &mut notes)?;
    keep_to(Contract::Knative, &mut endpoint);
    Ok(Manifest { endpoint, source, notes })
}

fn read_spec(
    mut spec: Mapping,
    metadata: &Metadata,
    objects: &Objects,
    endpoint: &mut EndpointRequest,
    notes: &mut Vec<Note>,
) -> Result<Container, ManifestError> {
    let (template, traffic) = (spec.take("template"), spec.take("traffic"));
    let missing = spec.missing("template");
    spec.finish(&[], notes)?;
    if let Some(traffic) = traffic {
        read_traffic(traffic, notes)?;
    }
    let mut template = template.ok_or(missing)?.mapping()?;
    let revision = template.take("metadata");
    let spec = template.required("spec")?.mapping()?;
    template.finish(&[], notes)?;
    let revision = revision.map(|revision| read_revision_metadata(revision.mapping()?, endpoint, notes));
    let (labels, annotations) = revision.transpose()?.unwrap_or_default();
    let owner = Owner {
        standard: Standard::Knative,
        name: &metadata.name,
        namespace: &metadata.namespace,
        labels: &labels,
        annotations: &annotations,
        objects,
    };
    read_revision(spec, &owner, endpoint, notes)
}

fn read_revision(
    mut spec: Mapping,
    owner: &Owner<'_>,
    endpoint: &mut EndpointRequest,
    notes: &mut Vec<Note>,
) -> Result<Container, ManifestError> {
    if let Some(field) = spec.take("containerConcurrency") {
        match field.count(0, 1_000, "from 0 to 1000; 0 is the node's default")? {
            0 => field.note_ignored("a replica never serves without a bound; the node's default is used", notes),
            requests => endpoint.container_concurrency = Some(requests),
        }
    }
    endpoint.timeout =
        spec.take("timeoutSeconds").map(|field| field.seconds(1, "seconds from 1 to a year")).transpose()?;
    let containers = spec.take("containers");
    pod_spec::read(spec, containers, knative::REVISION, owner, endpoint, notes)
}

/// One revision takes all traffic, which is what no word of it means too.
fn read_traffic(traffic: Field, notes: &mut Vec<Note>) -> Result<(), ManifestError> {
    for (index, target) in traffic.list()?.into_iter().enumerate() {
        if index > 0 {
            return Err(target.unsupported("the latest revision takes all traffic"));
        }
        let mut target = target.mapping()?;
        let (latest, percent) = (target.take("latestRevision"), target.take("percent"));
        let missing = target.missing("percent");
        target.finish(&[knative::TRAFFIC], notes)?;
        if let Some(latest) = latest.filter(|latest| !matches!(latest.boolean(), Ok(true))) {
            latest.boolean()?;
            return Err(latest.unsupported("the latest revision takes all traffic"));
        }
        percent.ok_or(missing)?.count(100, 100, "100; the latest revision takes all traffic")?;
    }
    Ok(())
}

/// Its labels and its annotations.
fn read_revision_metadata(
    mut metadata: Mapping,
    endpoint: &mut EndpointRequest,
    notes: &mut Vec<Note>,
) -> Result<(Texts, Texts), ManifestError> {
    let (labels, annotations) = (metadata.take("labels"), metadata.take("annotations"));
    metadata.finish(&[knative::REVISION_METADATA, kubernetes::METADATA], notes)?;
    let labels = labels.map(metadata::texts).transpose()?.unwrap_or_default();
    let annotations = annotations.map(metadata::texts).transpose()?.unwrap_or_default();
    for (key, field) in &annotations {
        read_annotation(key, field, endpoint, notes)?;
    }
    Ok((metadata::written(&labels)?, metadata::written(&annotations)?))
}

fn read_annotation(
    key: &str,
    field: &Field,
    endpoint: &mut EndpointRequest,
    notes: &mut Vec<Note>,
) -> Result<(), ManifestError> {
    let related = |group: &&Known| group.names.contains(&key);
    if knative::MIN_SCALE.contains(&key) {
        return field.annotate("min-replicas", endpoint);
    }
    if knative::MAX_SCALE.contains(&key) && !field.is("0") {
        return field.annotate("max-replicas", endpoint);
    }
    if key.starts_with(ANNOTATION_PREFIX) {
        return Err(field.unsupported(metadata::ELSEWHERE));
    }
    if knative::MAX_SCALE.contains(&key) {
        field.note_ignored("replicas always have a bound; the node's default is used", notes);
    } else if let Some(group) = knative::ANNOTATIONS.iter().find(related) {
        field.note_ignored(group.reason, notes);
    } else if metadata::steers_a_cluster(key) {
        field.note_ignored(kserve::ANNOTATION_REASON, notes);
    }
    Ok(())
}

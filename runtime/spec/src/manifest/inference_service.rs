use crate::{Contract, EndpointRequest};

use super::{
    FileUri, Manifest, ManifestError, Note, Problem, Source,
    field::{Field, Mapping},
    kserve, kubernetes,
    metadata::{self, Metadata, Texts},
    objects::Objects,
    pod_spec::{self, Owner, Standard, keep_to},
    resources::{self, Bounded},
};

pub(super) const API_VERSION: &str = "serving.kserve.io/v1beta1";
pub(super) const KIND: &str = "InferenceService";
const MODEL_FORMAT: &str = "onnx";
const PROTOCOL_VERSION: &str = "v2";
const MIN_REPLICAS_PATH: &str = "spec.predictor.minReplicas";
const PROTOCOL_VERSION_PATH: &str = "spec.predictor.model.protocolVersion";

pub(super) fn read(mut root: Mapping, objects: &Objects) -> Result<Manifest, ManifestError> {
    let mut notes = Vec::new();
    let metadata = metadata::read(root.required("metadata")?.mapping()?, &mut notes)?;
    let spec = root.required("spec")?.mapping()?;
    root.finish(&[kubernetes::ROOT], &mut notes)?;

    let mut endpoint = EndpointRequest::named(metadata.name.clone());
    let source = read_spec(spec, &metadata, objects, &mut endpoint, &mut notes)?;
    metadata.annotate(&mut endpoint, &mut notes)?;
    keep_to(Contract::KServe, &mut endpoint);
    if endpoint.min_replicas.is_none() {
        notes.push(Note::Differs {
            path: MIN_REPLICAS_PATH.to_owned(),
            here: "0 (the node's default)".to_owned(),
            standard: "KServe",
            there: "1".to_owned(),
        });
    }
    Ok(Manifest { endpoint, source, notes })
}

fn read_spec(
    mut spec: Mapping,
    metadata: &Metadata,
    objects: &Objects,
    endpoint: &mut EndpointRequest,
    notes: &mut Vec<Note>,
) -> Result<Source, ManifestError> {
    let predictor = spec.take("predictor");
    let missing = spec.missing("predictor");
    spec.finish(&[kserve::SPEC], notes)?;
    read_predictor(predictor.ok_or(missing)?.mapping()?, metadata, objects, endpoint, notes)
}

fn read_predictor(
    mut predictor: Mapping,
    metadata: &Metadata,
    objects: &Objects,
    endpoint: &mut EndpointRequest,
    notes: &mut Vec<Note>,
) -> Result<Source, ManifestError> {
    let at_least_one = "at least 1; leave it out for as many as the node has processors";
    let one_to_1000 = "from 1 to 1000; a replica never serves without a bound";
    endpoint.min_replicas =
        predictor.take("minReplicas").map(|field| field.count(0, u32::MAX, "at least 0")).transpose()?;
    endpoint.max_replicas =
        predictor.take("maxReplicas").map(|field| field.count(1, u32::MAX, at_least_one)).transpose()?;
    endpoint.container_concurrency =
        predictor.take("containerConcurrency").map(|field| field.count(1, 1_000, one_to_1000)).transpose()?;
    endpoint.timeout =
        predictor.take("timeout").map(|field| field.seconds(1, "seconds from 1 to a year")).transpose()?;
    let (labels, annotations) = read_component_metadata(&mut predictor, metadata, notes)?;
    let model = predictor.take("model");
    let containers = predictor.take("containers").filter(|containers| !containers.is_empty_list());
    if let Some(containers) = containers {
        if model.is_some() {
            return Err(containers.unsupported("the predictor has a `model`: write one of the two"));
        }
        let owner = Owner {
            standard: Standard::KServe,
            name: &metadata.name,
            namespace: &metadata.namespace,
            labels: &labels,
            annotations: &annotations,
            objects,
        };
        let container = pod_spec::read(predictor, Some(containers), kserve::COMPONENT, &owner, endpoint, notes)?;
        let source = Source::Image(container.image.clone());
        endpoint.container = Some(Box::new(container));
        return Ok(source);
    }
    let missing = predictor.missing("model");
    // First what is refused: `onnx:` in place of `model:` deserves better than "`model` is missing".
    predictor.finish(&[kserve::COMPONENT, kserve::POD_OF_MODEL], notes)?;
    read_model(model.ok_or(missing)?.mapping()?, endpoint, notes).map(Source::Model)
}

/// The labels and the annotations of its pods: those of the object, and over them the predictor's own.
fn read_component_metadata(
    predictor: &mut Mapping,
    metadata: &Metadata,
    notes: &mut Vec<Note>,
) -> Result<(Texts, Texts), ManifestError> {
    let (mut labels, mut annotations) = (metadata.labels.clone(), metadata.annotations.clone());
    if let Some(own) = predictor.take("labels") {
        labels.extend(metadata::component_labels(own, notes)?);
    }
    if let Some(own) = predictor.take("annotations") {
        annotations.extend(metadata::component_annotations(own, notes)?);
    }
    Ok((labels, annotations))
}

fn read_model(
    mut model: Mapping,
    endpoint: &mut EndpointRequest,
    notes: &mut Vec<Note>,
) -> Result<FileUri, ManifestError> {
    let format = model.take("modelFormat");
    let storage = model.take("storageUri");
    match model.take("protocolVersion") {
        Some(field) => expect(&field, PROTOCOL_VERSION, "only v2, the Open Inference Protocol over HTTP, is served")?,
        None => notes.push(Note::Differs {
            path: PROTOCOL_VERSION_PATH.to_owned(),
            here: PROTOCOL_VERSION.to_owned(),
            standard: "KServe",
            there: "v1".to_owned(),
        }),
    }
    if let Some(field) = model.take("resources") {
        resources::read(field.mapping()?, Bounded::Model, endpoint, notes)?;
    }
    let (no_format, no_storage) = (model.missing("modelFormat"), model.missing("storageUri"));
    model.finish(&[kserve::MODEL], notes)?;

    let mut format = format.ok_or(no_format)?.mapping()?;
    expect(&format.required("name")?, MODEL_FORMAT, "only onnx is served")?;
    format.finish(&[kserve::MODEL_FORMAT], notes)?;
    let storage = storage.ok_or(no_storage)?;
    storage.text()?.parse().map_err(|error| storage.fail(Problem::FileUri(error)))
}

/// Checks a field that has one value only.
fn expect(field: &Field, supported: &str, reason: &str) -> Result<(), ManifestError> {
    let text = field.text()?;
    if text == supported { Ok(()) } else { Err(field.unsupported(format!("`{text}`: {reason}"))) }
}

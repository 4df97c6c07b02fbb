//! `valueFrom`: a variable whose value is written elsewhere.

use super::{
    super::{ManifestError, Problem, field::Field, kubernetes, objects::Kind},
    object_key, pod_field, resource_field,
    sources::{Place, Sources},
};

const NAMES: [&str; 4] = ["configMapKeyRef", "fieldRef", "resourceFieldRef", "secretKeyRef"];

/// None: it is not there, and need not be.
pub(super) fn read(from: Field, sources: &Sources<'_>) -> Result<Option<String>, ManifestError> {
    let mut from = from.mapping()?;
    let taken: Vec<_> = NAMES.into_iter().filter_map(|name| Some((name, from.take(name)?))).collect();
    let missing = from.fail(Problem::Unsupported(format!("it names nothing: write one of {}", NAMES.join(", "))));
    from.finish(&[kubernetes::VALUE_FROM], &mut Vec::new())?;
    let mut taken = taken.into_iter();
    let (name, field) = taken.next().ok_or(missing)?;
    if let Some((_, second)) = taken.next() {
        return Err(second.unsupported(format!("the variable has a `{name}` too")));
    }
    match name {
        "configMapKeyRef" => object_key::read(field, Kind::ConfigMap, sources),
        "secretKeyRef" => object_key::read(field, Kind::Secret, sources),
        "fieldRef" => pod_field::read(field, sources.owner, Place::Variable).map(Some),
        _ => resource_field::read(field, sources, Place::Variable).map(Some),
    }
}

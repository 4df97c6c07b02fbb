//! `resourceFieldRef`: what a container may use, as a number.

use super::{
    super::{
        ManifestError,
        field::Field,
        kubernetes,
        resources::{Amounts, Resources},
    },
    sources::{Place, Sources},
};

/// Units that a quantity of bytes can be told in, as Kubernetes has them.
const UNITS_OF_BYTES: [(&str, u64); 13] = [
    ("1", 1),
    ("1k", 1_000),
    ("1M", 1_000_000),
    ("1G", 1_000_000_000),
    ("1T", 1_000_000_000_000),
    ("1P", 1_000_000_000_000_000),
    ("1E", 1_000_000_000_000_000_000),
    ("1Ki", 1 << 10),
    ("1Mi", 1 << 20),
    ("1Gi", 1 << 30),
    ("1Ti", 1 << 40),
    ("1Pi", 1 << 50),
    ("1Ei", 1 << 60),
];
/// Processors are kept in thousandths.
const UNITS_OF_CPU: [(&str, u64); 2] = [("1", 1_000), ("1m", 1)];
const NOT_SET: &str =
    "it is not set, and what the node gives then is not known here: write it under `resources.limits`";

pub(super) fn read(field: Field, sources: &Sources<'_>, place: Place) -> Result<String, ManifestError> {
    let mut field = field.mapping()?;
    let (resource, container) = (field.required("resource")?, field.take("containerName"));
    let (divisor, missing) = (field.take("divisor"), field.missing("containerName"));
    field.finish(&[], &mut Vec::new())?;
    match (&container, &sources.name) {
        (None, _) if place == Place::File => return Err(missing),
        (Some(named), Some(name)) if !named.is(name) => {
            return Err(named.unsupported("the pod has no container of this name"));
        }
        (Some(named), _) => drop(named.text()?),
        (None, _) => {}
    }
    let (amount, units) = amount(&resource, &sources.resources)?;
    let unit = divisor.map(|divisor| unit(&divisor, units)).transpose()?.flatten();
    let unit = unit.or_else(|| units.first().map(|(_, unit)| *unit)).unwrap_or(1);
    Ok(amount.ok_or_else(|| resource.unsupported(NOT_SET))?.div_ceil(unit).to_string())
}

type Units = &'static [(&'static str, u64)];

fn amount(resource: &Field, resources: &Resources) -> Result<(Option<u64>, Units), ManifestError> {
    let Resources { limits, requests } = resources;
    // What is not requested is what is limited, as an API server has it.
    let requested = |of: fn(&Amounts) -> Option<u64>| of(requests).or(of(limits));
    let amount: (Option<u64>, Units) = match resource.text()? {
        "limits.cpu" => (limits.cpu, &UNITS_OF_CPU),
        "limits.memory" => (limits.memory, &UNITS_OF_BYTES),
        "limits.ephemeral-storage" => (limits.ephemeral_storage, &UNITS_OF_BYTES),
        "requests.cpu" => (requested(|amounts| amounts.cpu), &UNITS_OF_CPU),
        "requests.memory" => (requested(|amounts| amounts.memory), &UNITS_OF_BYTES),
        "requests.ephemeral-storage" => (requested(|amounts| amounts.ephemeral_storage), &UNITS_OF_BYTES),
        huge if huge.starts_with("limits.hugepages-") || huge.starts_with("requests.hugepages-") => {
            return Err(resource.unsupported(kubernetes::HUGE_PAGES_REASON));
        }
        _ => {
            return Err(
                resource.unsupported("there are `cpu`, `memory` and `ephemeral-storage` of `limits.` and `requests.`")
            );
        }
    };
    Ok(amount)
}

/// None: the first of the units, which 0 stands for.
fn unit(divisor: &Field, units: Units) -> Result<Option<u64>, ManifestError> {
    let text = divisor.scalar()?;
    if text == "0" {
        return Ok(None);
    }
    let known = units.iter().find(|(name, _)| *name == text);
    let names = || units.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    known.map(|(_, unit)| Some(*unit)).ok_or_else(|| divisor.unsupported(format!("a divisor is one of {}", names())))
}

use std::str::FromStr;

use crate::{EndpointRequest, QuantityError};

use super::{
    ManifestError, Note, Problem,
    field::{Field, Mapping},
    kserve,
};

pub(super) fn read(
    mut resources: Mapping,
    request: &mut EndpointRequest,
    notes: &mut Vec<Note>,
) -> Result<(), ManifestError> {
    if let Some(limits) = resources.take("limits") {
        read_limits(limits.mapping()?, request, notes)?;
    }
    resources.finish(kserve::RESOURCES, notes)
}

fn read_limits(mut limits: Mapping, request: &mut EndpointRequest, notes: &mut Vec<Note>) -> Result<(), ManifestError> {
    request.cpu = limits.take("cpu").as_ref().map(quantity).transpose()?;
    request.memory = limits.take("memory").as_ref().map(quantity).transpose()?;
    limits.finish_where(kserve::LIMITS, notes, |name, field, notes| {
        if name.starts_with("hugepages-") {
            field.note_ignored(kserve::HUGE_PAGES_REASON, notes);
            return Ok(());
        }
        // Only resources of others, devices above all, are named under a domain.
        Err(field.fail(if name.contains('/') {
            Problem::Unsupported(kserve::DEVICE_REASON.to_owned())
        } else {
            Problem::Unknown { nearest: None }
        }))
    })
}

fn quantity<T: FromStr<Err = QuantityError>>(field: &Field) -> Result<T, ManifestError> {
    field.scalar()?.parse().map_err(|error| field.fail(Problem::Quantity(error)))
}

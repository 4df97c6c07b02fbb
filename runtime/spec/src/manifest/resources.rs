use std::str::FromStr;

use crate::{Bytes, EndpointRequest, MilliCpu, QuantityError};

use super::{
    ManifestError, Note, Problem,
    field::{Field, Mapping},
    kubernetes,
};

/// What is bounded: a container's disk is its /tmp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bounded {
    Model,
    Container,
}

pub(super) fn read(
    mut resources: Mapping,
    bounded: Bounded,
    request: &mut EndpointRequest,
    notes: &mut Vec<Note>,
) -> Result<(), ManifestError> {
    if let Some(limits) = resources.take("limits") {
        read_limits(limits.mapping()?, bounded, request, notes)?;
    }
    if let Some(requests) = resources.take("requests") {
        requests.note_ignored(kubernetes::REQUESTS_REASON, notes);
        if bounded == Bounded::Container {
            check_requests(requests.mapping()?, request)?;
        }
    }
    resources.finish(&[kubernetes::RESOURCES], notes)
}

fn read_limits(
    mut limits: Mapping,
    bounded: Bounded,
    request: &mut EndpointRequest,
    notes: &mut Vec<Note>,
) -> Result<(), ManifestError> {
    request.cpu = limits.take("cpu").as_ref().map(quantity).transpose()?;
    request.memory = limits.take("memory").as_ref().map(quantity).transpose()?;
    let known = match bounded {
        Bounded::Model => kubernetes::LIMITS_OF_MODEL,
        Bounded::Container => {
            request.tmp = limits.take("ephemeral-storage").as_ref().map(quantity).transpose()?;
            &[]
        }
    };
    limits.finish_where(&[known], notes, |name, field, notes| {
        if name.starts_with("hugepages-") {
            field.note_ignored(kubernetes::HUGE_PAGES_REASON, notes);
            return Ok(());
        }
        // Only resources of others, devices above all, are named under a domain.
        Err(if name.contains('/') {
            field.unsupported(kubernetes::DEVICES)
        } else {
            field.fail(Problem::Unknown { nearest: None })
        })
    })
}

/// A request that no limit holds could never be met.
fn check_requests(mut requests: Mapping, request: &EndpointRequest) -> Result<(), ManifestError> {
    let (cpu, memory) = (requests.take("cpu"), requests.take("memory"));
    within::<MilliCpu>(cpu.as_ref(), request.cpu)?;
    within::<Bytes>(memory.as_ref(), request.memory)
}

fn within<T: FromStr<Err = QuantityError> + PartialOrd>(
    field: Option<&Field>,
    limit: Option<T>,
) -> Result<(), ManifestError> {
    let Some(field) = field else { return Ok(()) };
    // Nothing is asked for, which is no quantity of processors.
    if field.scalar()? == "0" {
        return Ok(());
    }
    let requested: T = quantity(field)?;
    match limit {
        Some(limit) if requested > limit => Err(field.unsupported("it is more than the limit")),
        _ => Ok(()),
    }
}

fn quantity<T: FromStr<Err = QuantityError>>(field: &Field) -> Result<T, ManifestError> {
    field.scalar()?.parse().map_err(|error| field.fail(Problem::Quantity(error)))
}

use std::str::FromStr;

use crate::{Bytes, EndpointRequest, QuantityError, Requests};

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

/// Quantities as they are written; absent where nothing is.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Amounts {
    /// In thousandths of a processor.
    pub(super) cpu: Option<u64>,
    /// In bytes, as the other.
    pub(super) memory: Option<u64>,
    pub(super) ephemeral_storage: Option<u64>,
}

/// What containers are told of their own.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Resources {
    pub(super) limits: Amounts,
    pub(super) requests: Amounts,
}

pub(super) fn read(
    mut resources: Mapping,
    bounded: Bounded,
    request: &mut EndpointRequest,
    notes: &mut Vec<Note>,
) -> Result<Resources, ManifestError> {
    let mut written = Resources::default();
    if let Some(limits) = resources.take("limits") {
        read_limits(limits.mapping()?, bounded, request, notes)?;
        written.limits = Amounts {
            cpu: request.cpu.map(|cpu| cpu.milli().into()),
            memory: request.memory.map(Bytes::get),
            ephemeral_storage: request.tmp.map(Bytes::get),
        };
    }
    if let Some(requests) = resources.take("requests") {
        match bounded {
            Bounded::Model => requests.note_ignored(kubernetes::REQUESTS_REASON, notes),
            Bounded::Container => {
                let place = requests.clone();
                written.requests = read_requests(requests.mapping()?, request)?;
                if is_beside_a_limit(&written) {
                    place.note_ignored(kubernetes::REQUESTS_REASON, notes);
                }
            }
        }
    }
    resources.finish(&[kubernetes::RESOURCES], notes)?;
    Ok(written)
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

fn is_beside_a_limit(Resources { limits, requests }: &Resources) -> bool {
    let of: [fn(&Amounts) -> Option<u64>; 3] =
        [|amounts| amounts.cpu, |amounts| amounts.memory, |amounts| amounts.ephemeral_storage];
    of.iter().any(|of| of(limits).is_some() && of(requests).is_some())
}

/// A request that no limit holds could never be met.
fn read_requests(mut requests: Mapping, request: &mut EndpointRequest) -> Result<Amounts, ManifestError> {
    let Requests { cpu, memory, tmp } = &mut request.requests;
    Ok(Amounts {
        cpu: within(requests.take("cpu"), request.cpu, cpu, |cpu| cpu.milli().into())?,
        memory: within(requests.take("memory"), request.memory, memory, Bytes::get)?,
        ephemeral_storage: within(requests.take("ephemeral-storage"), request.tmp, tmp, Bytes::get)?,
    })
}

fn within<T: FromStr<Err = QuantityError> + PartialOrd + Copy>(
    field: Option<Field>,
    limit: Option<T>,
    requested: &mut Option<T>,
    amount: fn(T) -> u64,
) -> Result<Option<u64>, ManifestError> {
    let Some(field) = field else { return Ok(None) };
    // Nothing is asked for, which is no quantity of processors.
    if field.scalar()? == "0" {
        return Ok(Some(0));
    }
    let quantity: T = quantity(&field)?;
    match limit {
        Some(limit) if quantity > limit => return Err(field.unsupported("it is more than the limit")),
        Some(_) => {}
        None => *requested = Some(quantity),
    }
    Ok(Some(amount(quantity)))
}

pub(super) fn quantity<T: FromStr<Err = QuantityError>>(field: &Field) -> Result<T, ManifestError> {
    field.scalar()?.parse().map_err(|error| field.fail(Problem::Quantity(error)))
}

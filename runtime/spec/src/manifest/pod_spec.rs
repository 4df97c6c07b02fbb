//! A `PodSpec` of Kubernetes with one container, whichever kind of manifest it is in.

use crate::{Container, Contract, EndpointName, EndpointRequest, Probe};

use super::{
    ManifestError, Note,
    container::{
        self, Shared,
        security::{self, Security},
    },
    field::{Field, Mapping},
    known::Known,
    kubernetes,
    metadata::Texts,
    objects::Objects,
};

/// Whose kind of manifest it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standard {
    Knative,
    KServe,
    Kubernetes,
}

/// What a pod takes from the object that it is of.
#[derive(Debug)]
pub(super) struct Owner<'a> {
    pub(super) standard: Standard,
    pub(super) name: &'a EndpointName,
    pub(super) namespace: &'a str,
    /// Of its pods, as far as they are written.
    pub(super) labels: &'a Texts,
    pub(super) annotations: &'a Texts,
    /// What may be named in it.
    pub(super) objects: &'a Objects,
}

impl Owner<'_> {
    /// Variables that a cluster gives a container beside those it is written with.
    pub(super) fn given_variables(&self, port: Option<u16>) -> Vec<(&'static str, String)> {
        let port = port.filter(|_| self.standard != Standard::Kubernetes).map(|port| ("PORT", port.to_string()));
        let names: &[&str] = if self.standard == Standard::Knative { &["K_SERVICE", "K_CONFIGURATION"] } else { &[] };
        port.into_iter().chain(names.iter().map(|name| (*name, self.name.to_string()))).collect()
    }
}

/// A container whose manifest does not say what it keeps to, keeps to what this kind of manifest means.
pub(super) fn keep_to(contract: Contract, endpoint: &mut EndpointRequest) {
    if let Some(container) = &mut endpoint.container
        && container.contract == Contract::Auto
    {
        container.contract = contract;
        // As in a cluster: not every custom predictor knows the paths of KServe's own servers.
        if contract == Contract::KServe && container.readiness_probe.is_none() {
            container.startup_probe.get_or_insert_with(Probe::tcp);
        }
    }
}

/// Reads what is left in `spec` of a pod's fields, beside its `containers`. Those in `known` are its owner's.
pub(super) fn read(
    mut spec: Mapping,
    containers: Option<Field>,
    known: &'static [Known],
    owner: &Owner<'_>,
    endpoint: &mut EndpointRequest,
    notes: &mut Vec<Note>,
) -> Result<Container, ManifestError> {
    let missing = spec.missing("containers");
    let (security, volumes) = (spec.take("securityContext"), spec.take("volumes"));
    let (grace, os) = (spec.take("terminationGracePeriodSeconds"), spec.take("os"));
    spec.finish(&[known, kubernetes::POD_SPEC], notes)?;

    if let Some(os) = os {
        os.mapping()?.finish(&[kubernetes::OS], notes)?;
    }
    endpoint.drain_deadline = grace.map(|field| field.seconds(0, "seconds from 0 to a year")).transpose()?;
    let shared = Shared {
        security: security.map(|field| security::of_pod(field, notes)).transpose()?.unwrap_or_else(Security::default),
        volumes,
    };
    let container = only(containers.ok_or(missing)?)?;
    container::read(container, shared, owner, endpoint, notes)
}

fn only(containers: Field) -> Result<Field, ManifestError> {
    let none = containers.unsupported("there is no container in it");
    let mut containers = containers.list()?.into_iter();
    match (containers.next(), containers.next()) {
        (Some(_), Some(second)) => Err(second.unsupported("one container is run: others beside it not yet")),
        (Some(only), None) => Ok(only),
        (None, _) => Err(none),
    }
}

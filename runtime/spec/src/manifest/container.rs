//! A `Container` of Kubernetes, whichever kind of manifest it is in.

mod env;
mod env_from;
mod exec;
mod expansion;
mod grpc;
mod http_get;
mod object_key;
mod pod_field;
mod port;
mod probes;
mod process;
mod resource_field;
pub(super) mod security;
mod sources;
mod storage_uri;
mod texts;
mod value_from;
mod volumes;

use crate::{Container, EndpointRequest, ImageReference};

use super::{
    ManifestError, Note, Problem,
    field::Field,
    kubernetes,
    pod_spec::Owner,
    resources::{self, Bounded},
};
use process::{Process, Written};
use security::Security;
use sources::Sources;

/// What a pod says of its containers.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) security: Security,
    /// Not yet read: a file may tell what its container may use.
    pub(super) volumes: Option<Field>,
}

pub(super) fn read(
    field: Field,
    shared: Shared,
    owner: &Owner<'_>,
    endpoint: &mut EndpointRequest,
    notes: &mut Vec<Note>,
) -> Result<Container, ManifestError> {
    let mut container = field.mapping()?;
    // There is one, so that nothing tells it apart by its name.
    let name = container.take("name").map(|name| name.text().map(str::to_owned)).transpose()?;
    let image = container.take("image");
    let missing = container.missing("image");
    let env = env::Written { env: container.take("env"), env_from: container.take("envFrom") };
    let written = Written { command: container.take("command"), args: container.take("args"), env };
    let (ports, working_dir) = (container.take("ports"), container.take("workingDir"));
    let (readiness, startup) = (container.take("readinessProbe"), container.take("startupProbe"));
    let liveness = container.take("livenessProbe");
    let (security, mounts) = (container.take("securityContext"), container.take("volumeMounts"));
    let (resources, lifecycle) = (container.take("resources"), container.take("lifecycle"));
    container.finish(&[kubernetes::CONTAINER], notes)?;

    let image = read_image(&image.ok_or(missing)?)?;
    let mut port = port::read(ports, owner, notes)?;
    let resources = resources
        .map(|resources| resources::read(resources.mapping()?, Bounded::Container, endpoint, notes))
        .transpose()?
        .unwrap_or_default();
    let sources = Sources { owner, name, resources };
    let Process { command, args, env } = written.read(&mut port, &sources, notes)?;
    let security = match security {
        Some(security) => security::of_container(security, shared.security, notes)?,
        None => shared.security,
    };
    let written = volumes::Written { volumes: shared.volumes, mounts, storage: env.storage };
    let volume_mounts = written.read(&sources, notes)?;
    let probes = probes::read(readiness, startup, &port, endpoint, notes)?;
    if let Some(lifecycle) = lifecycle {
        lifecycle.mapping()?.finish(&[kubernetes::LIFECYCLE], notes)?;
    }
    Ok(Container {
        command,
        args,
        env: env.variables,
        working_dir: working_dir.as_ref().map(read_working_dir).transpose()?,
        port: port.number,
        app_protocol: port.app_protocol,
        run_as_user: security.user(),
        run_as_group: security.group,
        run_as_non_root: security.non_root()?,
        read_only_root_filesystem: security.read_only_root,
        readiness_probe: probes.readiness,
        startup_probe: probes.startup,
        volume_mounts,
        liveness_probe: liveness.map(|liveness| probes::read_liveness(liveness, &port, notes)).transpose()?,
        ..Container::of(image)
    })
}

fn read_image(field: &Field) -> Result<ImageReference, ManifestError> {
    field.text()?.parse().map_err(|error| field.fail(Problem::Image(error)))
}

fn read_working_dir(field: &Field) -> Result<String, ManifestError> {
    let path = field.text()?;
    if path.contains('\0') {
        return Err(field.fail(Problem::Nul));
    }
    if !path.starts_with('/') {
        return Err(field.unsupported("it is not absolute: it begins with no `/`"));
    }
    Ok(path.to_owned())
}

use std::{env::var_os, path::PathBuf};

use dormouse_image::registry::{Keyring, credentials_for};
use dormouse_spec::Registry;

use crate::commands::CommandError;

/// What tools that log in to registries wrote down for the caller, read with the caller's rights.
pub(super) fn of_caller(registry: &Registry) -> Result<Keyring, CommandError> {
    let mut keyring = Keyring::default();
    for file in files() {
        if let Some(found) = credentials_for(&file, registry).map_err(CommandError::Credentials)? {
            keyring.insert(registry.clone(), found);
            break;
        }
    }
    Ok(keyring)
}

/// Where those tools write, in the order in which they look.
fn files() -> impl Iterator<Item = PathBuf> {
    let directory = |variable: &str| var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    let docker = directory("DOCKER_CONFIG").or_else(|| directory("HOME").map(|home| home.join(".docker")));
    let containers = directory("XDG_RUNTIME_DIR").map(|runtime| runtime.join("containers/auth.json"));
    let docker = docker.map(|docker| docker.join("config.json"));
    [directory("REGISTRY_AUTH_FILE"), docker, containers].into_iter().flatten()
}

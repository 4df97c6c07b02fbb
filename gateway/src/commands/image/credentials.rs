use std::{env::var_os, path::PathBuf};

use dormouse_image::registry::{CredentialsError, Keyring, credentials_for};
use dormouse_spec::Registry;

use crate::{commands::CommandError, status::chain};

/// What tools that log in to registries wrote down for the caller, read with the caller's rights.
pub(super) fn of_caller(registry: &Registry) -> Result<Keyring, CommandError> {
    of_files(files(), registry, |warning| eprintln!("{warning}")).map_err(CommandError::Credentials)
}

/// Those of the first file that has some. A helper that fails is told and passed over: most images are public, and the
/// node may have credentials of its own.
fn of_files(
    files: impl Iterator<Item = PathBuf>,
    registry: &Registry,
    mut warn: impl FnMut(String),
) -> Result<Keyring, CredentialsError> {
    let mut keyring = Keyring::default();
    for file in files {
        match credentials_for(&file, registry) {
            Ok(Some(found)) => {
                keyring.insert(registry.clone(), found);
                break;
            }
            Ok(None) => {}
            Err(error @ CredentialsError::Helper { .. }) => {
                warn(format!("warning: your credentials are not used: {}", chain(&error)));
            }
            Err(error) => return Err(error),
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_helper_that_fails_is_told_once_and_others_are_asked() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, content).unwrap();
            path
        };
        let broken = file("broken", r#"{"credsStore":"that-nobody-has-installed"}"#);
        let good = file("good", r#"{"auths":{"a.io":{"auth":"bWU6c2VjcmV0"}}}"#);
        let damaged = file("damaged", "{");
        let registry: Registry = "a.io".parse().unwrap();
        let mut warnings = Vec::new();
        let mut found = |files: &[&PathBuf]| {
            let files = files.iter().map(|file| (*file).clone());
            of_files(files, &registry, |warning| warnings.push(warning)).map(|keyring| keyring.get(&registry).is_some())
        };
        assert!(!found(&[&broken]).unwrap() && found(&[&broken, &good]).unwrap() && found(&[&good, &broken]).unwrap());
        assert!(found(&[&damaged, &good]).is_err(), "that is nothing that passes");
        assert!(warnings.len() == 2 && warnings[0].contains("that-nobody-has-installed"), "{warnings:?}");
    }
}

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use base64::{
    Engine as _,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use dormouse_spec::Registry;
use serde::Deserialize;

use super::{
    Credentials,
    credential_helper::{HelperError, ask_helper},
};

/// A `config.json` in bytes.
const CONFIG_BYTES_MAX: u64 = 1 << 20;
/// Tools differ in whether they pad.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why credentials could not be read, though there may be some.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    #[error("`{}` cannot be read", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{}` has more than {CONFIG_BYTES_MAX} bytes: is it a Docker config.json?", path.display())]
    TooLarge { path: PathBuf },
    // Without the parser's reason, which may quote what is secret.
    #[error("`{}` is not a Docker config.json: see line {line}, column {column}", path.display())]
    Malformed { path: PathBuf, line: usize, column: usize },
    #[error(
        "the credentials for {registry} in `{}` are damaged: log in anew with `docker login {registry}`",
        path.display()
    )]
    Damaged { path: PathBuf, registry: Registry },
    #[error("`{}` keeps the credentials for {registry} with a helper, which fails", path.display())]
    Helper {
        path: PathBuf,
        registry: Registry,
        #[source]
        source: HelperError,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
}

/// The credentials for `registry` in the Docker `config.json` at `path`: a helper's, if the file
/// names one that has some, or else the file's own. A file that does not exist has none.
///
/// Runs the program that the file names, and blocks for as long as that takes: to be called with
/// the rights of whoever wrote the file.
///
/// # Errors
/// See [`CredentialsError`].
pub fn credentials_for(path: &Path, registry: &Registry) -> Result<Option<Credentials>, CredentialsError> {
    let Some(config) = read(path)? else { return Ok(None) };
    if let Some(helper) = of_registry(&config.cred_helpers, registry).or(config.creds_store.as_ref()) {
        let failed = |source| CredentialsError::Helper { path: path.to_owned(), registry: registry.clone(), source };
        if let Some(credentials) = ask_helper(helper, registry).map_err(failed)? {
            return Ok(Some(credentials));
        }
    }
    config.own(path, registry)
}

/// The same without running a helper: what the file itself keeps.
///
/// # Errors
/// See [`CredentialsError`].
pub fn credentials_in(path: &Path, registry: &Registry) -> Result<Option<Credentials>, CredentialsError> {
    read(path)?.map_or(Ok(None), |config| config.own(path, registry))
}

impl DockerConfig {
    fn own(&self, path: &Path, registry: &Registry) -> Result<Option<Credentials>, CredentialsError> {
        let damaged = || CredentialsError::Damaged { path: path.to_owned(), registry: registry.clone() };
        of_registry(&self.auths, registry).map_or(Ok(None), |entry| entry.credentials().map_err(|Damaged| damaged()))
    }
}

fn read(path: &Path) -> Result<Option<DockerConfig>, CredentialsError> {
    let failed = |source| CredentialsError::Read { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut text = Vec::new();
    file.take(CONFIG_BYTES_MAX + 1).read_to_end(&mut text).map_err(failed)?;
    if text.len() as u64 > CONFIG_BYTES_MAX {
        return Err(CredentialsError::TooLarge { path: path.to_owned() });
    }
    serde_json::from_slice(&text).map(Some).map_err(|error| CredentialsError::Malformed {
        path: path.to_owned(),
        line: error.line(),
        column: error.column(),
    })
}

/// What is kept for a registry, under any of the names that tools have given it.
fn of_registry<'a, T>(entries: &'a BTreeMap<String, T>, registry: &Registry) -> Option<&'a T> {
    entries.iter().find(|(key, _)| registry_of(key).as_ref() == Some(registry)).map(|(_, value)| value)
}

/// `https://index.docker.io/v1/` is `docker.io`. A key with another path is for a part of a
/// registry and is not given to all of it.
fn registry_of(key: &str) -> Option<Registry> {
    let host = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let host = host.strip_suffix('/').unwrap_or(host);
    let host = host.strip_suffix("/v1").or_else(|| host.strip_suffix("/v2")).unwrap_or(host);
    host.parse().ok()
}

/// An entry that makes no sense.
struct Damaged;

impl Entry {
    /// Nothing for an entry that a helper left empty.
    fn credentials(&self) -> Result<Option<Credentials>, Damaged> {
        if !self.identitytoken.is_empty() {
            return Ok(Some(Credentials::IdentityToken(self.identitytoken.clone())));
        }
        let (username, password) = if self.auth.is_empty() {
            (self.username.clone(), self.password.clone())
        } else {
            decode(&self.auth).ok_or(Damaged)?
        };
        match (username.is_empty(), password.is_empty()) {
            (true, true) => Ok(None),
            (false, false) => Ok(Some(Credentials::Password { username, password })),
            _ => Err(Damaged),
        }
    }
}

fn decode(auth: &str) -> Option<(String, String)> {
    let decoded = String::from_utf8(BASE64.decode(auth).ok()?).ok()?;
    let (username, password) = decoded.split_once(':')?;
    // Docker once wrote a NUL behind passwords, and takes it away again.
    Some((username.to_owned(), password.trim_end_matches('\0').to_owned()))
}

#[cfg(test)]
mod tests;

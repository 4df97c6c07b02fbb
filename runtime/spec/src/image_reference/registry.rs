use std::{fmt, net::Ipv6Addr, str::FromStr};

use serde::{Deserialize, Serialize};

use super::ImageReferenceError;

/// DNS: a name has at most 253 characters.
const HOST_BYTES_MAX: usize = 253;
/// DNS-1123: a label has at most 63 characters.
const LABEL_BYTES_MAX: usize = 63;
const DOCKER_HUB: &str = "docker.io";
/// What Docker called the same registry before, and still writes into its `config.json`.
const DOCKER_HUB_FORMERLY: &str = "index.docker.io";

/// Where images are pulled from: a host name or address with an optional port, as in
/// `localhost:5000`, `ghcr.io` or `[::1]:5000`. Kept in lower case, since hosts have no case.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Registry(String);

impl Registry {
    /// The registry of a reference that names none.
    #[must_use]
    pub fn docker_hub() -> Self {
        Self(DOCKER_HUB.to_owned())
    }

    #[must_use]
    pub fn is_docker_hub(&self) -> bool {
        self.0 == DOCKER_HUB
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether the first component of a reference is a registry and not a part of the repository.
pub(super) fn looks_like_a_registry(component: &str) -> bool {
    component.contains(['.', ':']) || component == "localhost"
}

impl FromStr for Registry {
    type Err = ImageReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == DOCKER_HUB_FORMERLY {
            return Ok(Self::docker_hub());
        }
        match split_port(text) {
            Some((host, port)) if is_host(host) && port.is_none_or(is_port) => Ok(Self(text.to_ascii_lowercase())),
            _ => Err(ImageReferenceError::Registry { registry: text.to_owned() }),
        }
    }
}

/// Host and port. A host in brackets keeps them: its colons are its own.
fn split_port(text: &str) -> Option<(&str, Option<&str>)> {
    let end_of_host = if text.starts_with('[') { text.find(']')? + 1 } else { text.find(':').unwrap_or(text.len()) };
    match text.split_at(end_of_host) {
        (host, "") => Some((host, None)),
        (host, port) => Some((host, Some(port.strip_prefix(':')?))),
    }
}

fn is_host(host: &str) -> bool {
    match host.strip_prefix('[') {
        Some(bracketed) => bracketed.strip_suffix(']').is_some_and(|address| address.parse::<Ipv6Addr>().is_ok()),
        None => host.len() <= HOST_BYTES_MAX && host.split('.').all(is_label),
    }
}

fn is_label(label: &str) -> bool {
    (1..=LABEL_BYTES_MAX).contains(&label.len())
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

fn is_port(port: &str) -> bool {
    port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port != 0)
}

impl fmt::Display for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Registry {
    type Error = ImageReferenceError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Registry> for String {
    fn from(registry: Registry) -> Self {
        registry.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_addresses_are_registries() {
        for text in ["localhost", "localhost:5000", "GHCR.io", "10.0.0.1:443", "[::1]", "[fe80::1]:5000", "a-b.c"] {
            assert_eq!(text.parse(), Ok(Registry(text.to_ascii_lowercase())));
        }
    }

    #[test]
    fn docker_hub_has_one_name() {
        assert_eq!("index.docker.io".parse(), Ok(Registry::docker_hub()));
    }

    #[test]
    fn anything_else_is_none() {
        let long = "a.".repeat(130) + "io";
        for text in [
            "",
            ":5000",
            "a:",
            "a:0",
            "a:65536",
            "a:+1",
            "a:1:2",
            "a/b",
            "user@a.io",
            "-a.io",
            "a-.io",
            "a..io",
            "a_b.io",
            "[::1",
            "[::1]5000",
            "[]",
            "[a.io]",
            "::1",
            "ä.io",
            "a.io?x",
            "a.io#x",
            &long,
        ] {
            assert!(text.parse::<Registry>().is_err(), "{text}");
        }
    }
}

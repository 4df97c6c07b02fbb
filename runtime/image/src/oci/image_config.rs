use std::{collections::BTreeMap, fmt};

use dormouse_spec::Digest;
use serde::{Deserialize, de::IgnoredAny};

use crate::shown::shown;

use super::{
    ImageManifest,
    document::{self, DocumentError},
    platform::Platform,
};

/// An image configuration in bytes. It is read whole; a larger one is refused unread.
pub const CONFIG_BYTES_MAX: usize = 4 << 20;
/// Variables of one image's environment.
pub const ENV_ENTRIES_MAX: usize = 1024;
/// Words of an entrypoint or of a command.
pub const WORDS_MAX: usize = 1024;
/// Exposed ports of one image: every one of each protocol would be a mistake.
const PORTS_MAX: usize = 1024;
const LABELS_MAX: usize = 1024;
const CONFIG: &str = "image configuration";

/// What an image says about how it wants to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageConfig {
    pub platform: Platform,
    /// The digests of the layers when they are not compressed: one a layer, the lowest first.
    pub diff_ids: Vec<Digest>,
    /// As written: `uid`, `user`, or either with a group behind a colon. Empty for none.
    pub user: String,
    pub env: Vec<(String, String)>,
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    /// Empty for none.
    pub working_dir: String,
    pub exposed_ports: Vec<ExposedPort>,
    pub stop_signal: Option<String>,
    pub labels: BTreeMap<String, String>,
}

/// A port that an image says it listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExposedPort {
    pub port: u16,
    pub protocol: Protocol,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl fmt::Display for ExposedPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        };
        write!(f, "{}/{protocol}", self.port)
    }
}

#[derive(Deserialize)]
struct Document {
    os: String,
    architecture: String,
    variant: Option<String>,
    rootfs: Rootfs,
    config: Option<Execution>,
}

#[derive(Deserialize)]
struct Rootfs {
    diff_ids: Vec<Digest>,
}

/// Docker writes `null` for what is empty.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Execution {
    user: Option<String>,
    env: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    working_dir: Option<String>,
    exposed_ports: Option<BTreeMap<String, IgnoredAny>>,
    stop_signal: Option<String>,
    labels: Option<BTreeMap<String, String>>,
}

impl ImageConfig {
    /// Reads the configuration of the image with this manifest.
    ///
    /// # Errors
    /// Where it is malformed, over a limit, or made for other layers than the manifest has.
    pub fn parse(bytes: &[u8], manifest: &ImageManifest) -> Result<Self, DocumentError> {
        let document: Document = document::parse(CONFIG, bytes, CONFIG_BYTES_MAX)?;
        let (layers, diff_ids) = (manifest.layers.len(), document.rootfs.diff_ids);
        if diff_ids.len() != layers {
            return Err(DocumentError::Layers { layers, diff_ids: diff_ids.len() });
        }
        let execution = document.config.unwrap_or_default();
        let labels = execution.labels.unwrap_or_default();
        document::at_most(CONFIG, "labels", labels.len(), LABELS_MAX)?;
        Ok(Self {
            platform: Platform { os: document.os, architecture: document.architecture, variant: document.variant },
            diff_ids,
            user: word("User", execution.user.unwrap_or_default())?,
            env: environment(execution.env.unwrap_or_default())?,
            entrypoint: words("Entrypoint", execution.entrypoint.unwrap_or_default())?,
            cmd: words("Cmd", execution.cmd.unwrap_or_default())?,
            working_dir: word("WorkingDir", execution.working_dir.unwrap_or_default())?,
            exposed_ports: ports(execution.exposed_ports.unwrap_or_default().into_keys().collect())?,
            stop_signal: execution.stop_signal.filter(|signal| !signal.is_empty()),
            labels,
        })
    }

    /// Whether the image runs on `machine`. An index was chosen from by what it said; this is what
    /// the image itself says.
    ///
    /// # Errors
    /// [`DocumentError::NoPlatform`] with the image's platform.
    pub fn check_platform(&self, machine: &Platform) -> Result<(), DocumentError> {
        match machine.rank(&self.platform) {
            Some(_) => Ok(()),
            None => Err(DocumentError::NoPlatform { machine: machine.clone(), available: vec![self.platform.clone()] }),
        }
    }
}

/// The kernel ends every string of a program's arguments and environment at its first NUL: what
/// stands behind one would be another program than the one that was shown.
fn word(member: &'static str, text: String) -> Result<String, DocumentError> {
    if text.contains('\0') { Err(DocumentError::Nul { member }) } else { Ok(text) }
}

fn words(member: &'static str, words: Vec<String>) -> Result<Vec<String>, DocumentError> {
    document::at_most(CONFIG, member, words.len(), WORDS_MAX)?;
    words.into_iter().map(|text| word(member, text)).collect()
}

/// An entry without `=` sets nothing, in a program's environment as here.
fn environment(entries: Vec<String>) -> Result<Vec<(String, String)>, DocumentError> {
    document::at_most(CONFIG, "Env", entries.len(), ENV_ENTRIES_MAX)?;
    let entries: Result<Vec<_>, _> = entries.into_iter().map(|entry| word("Env", entry)).collect();
    let pair = |entry: &String| entry.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    Ok(entries?.iter().filter_map(pair).collect())
}

fn ports(names: Vec<String>) -> Result<Vec<ExposedPort>, DocumentError> {
    document::at_most(CONFIG, "ExposedPorts", names.len(), PORTS_MAX)?;
    let mut ports: Vec<_> = names
        .into_iter()
        .map(|port| parse_port(&port).ok_or_else(|| DocumentError::Port { port: shown(&port) }))
        .collect::<Result<_, _>>()?;
    ports.sort_unstable();
    Ok(ports)
}

fn parse_port(text: &str) -> Option<ExposedPort> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        _ => return None,
    };
    let port = port.parse().ok().filter(|port| *port != 0)?;
    Some(ExposedPort { port, protocol })
}

#[cfg(test)]
mod tests;

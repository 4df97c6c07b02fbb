use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
    time::Duration,
};

use dormouse_spec::Registry;

/// How registries are spoken to.
///
/// A proxy is taken from the environment (`HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`), and the
/// authorities that may sign a registry's certificate are the system's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistrySettings {
    /// Hosts that are spoken to over plain HTTP, and only so: what is read from them can be seen
    /// and held up by everybody on the way. None by default. A registry on loopback needs listing too.
    pub insecure: BTreeSet<Registry>,
    /// Hosts to ask before a registry, in this order. Each is asked once and passed over when it
    /// fails. It gets its own credentials only, never those of the registry.
    pub mirrors: BTreeMap<Registry, Vec<Registry>>,
    /// Until a connection stands, its name resolved and its TLS agreed.
    pub connect_timeout: Duration,
    /// Until the head of an answer, and between two pieces of a body that are worth the name.
    pub stall_timeout: Duration,
    /// How often a registry is asked for the same thing while it fails and nothing of it comes.
    pub attempts_max: NonZeroU32,
    /// The pause before the second attempt; it doubles with each further one.
    pub backoff: Duration,
    pub backoff_max: Duration,
    /// The longest pause that a registry may ask for. Where it wants more, that is the caller's to
    /// know, not to be waited for.
    pub retry_after_max: Duration,
    /// How often one request may be sent elsewhere.
    pub redirects_max: u32,
}

impl Default for RegistrySettings {
    fn default() -> Self {
        Self {
            insecure: BTreeSet::new(),
            mirrors: BTreeMap::new(),
            connect_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(30),
            attempts_max: NonZeroU32::MIN.saturating_add(4),
            backoff: Duration::from_millis(500),
            backoff_max: Duration::from_secs(8),
            retry_after_max: Duration::from_secs(60),
            redirects_max: 5,
        }
    }
}

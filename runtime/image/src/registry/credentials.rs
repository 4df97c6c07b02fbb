use std::{collections::BTreeMap, fmt};

use dormouse_spec::Registry;
use serde::{Deserialize, Serialize};

/// With what somebody proves to a registry who they are.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Credentials {
    Password {
        username: String,
        password: String,
    },
    /// What a token server gave for a password once: it is exchanged for tokens.
    IdentityToken(String),
}

/// The credentials of one pull, by the registry or mirror that they are for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Keyring(BTreeMap<Registry, Credentials>);

impl Keyring {
    pub fn insert(&mut self, registry: Registry, credentials: Credentials) {
        self.0.insert(registry, credentials);
    }

    #[must_use]
    pub fn get(&self, registry: &Registry) -> Option<&Credentials> {
        self.0.get(registry)
    }
}

/// Without anything that is secret: whatever is printed ends in a log.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { username, .. } => write!(f, "Password {{ username: {username:?}, .. }}"),
            Self::IdentityToken(_) => f.write_str("IdentityToken(..)"),
        }
    }
}

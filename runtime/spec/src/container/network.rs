use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a container reaches beyond itself: `dormouse.dev/network`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// Nothing.
    #[default]
    None,
    /// What the node reaches, but for the node itself. Nobody reaches it from there.
    Egress,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a network: there are `none` and `egress`")]
pub struct NetworkError(String);

impl Network {
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "none" => Ok(Self::None),
            "egress" => Ok(Self::Egress),
            other => Err(NetworkError(other.to_owned())),
        }
    }
}

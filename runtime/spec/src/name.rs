use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The name of an endpoint: a DNS-1123 label, 1 to 63 characters of `a-z 0-9 -`, beginning and
/// ending with a letter or digit. Safe as a file name, a cgroup name and a URL segment.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EndpointName(String);

/// A second name under which clients may call an endpoint: the stem of the file it was deployed
/// from, where that is no DNS-1123 label (`silero_vad` for the endpoint `silero-vad`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Alias(String);

/// Why a text names no endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error(
        "`{0}` is not an endpoint name: use 1 to 63 of a-z, 0-9 and `-`, beginning and ending with a letter or digit"
    )]
    NotALabel(String),
    #[error("`{0}` is not an alias: use 1 to 128 of A-Z, a-z, 0-9, `-`, `_` and `.`, not beginning with a dot")]
    NotAnAlias(String),
}

/// DNS-1123: a label has at most 63 characters.
const LABEL_CHARS_MAX: usize = 63;
const ALIAS_CHARS_MAX: usize = 128;

impl EndpointName {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name a model file gets when none is asked for: its stem in lower case, `_` and `.`
    /// written as `-`.
    ///
    /// # Errors
    /// [`NameError::NotALabel`] where that is still no label; the caller then asks for `--name`.
    pub fn from_stem(stem: &str) -> Result<Self, NameError> {
        stem.to_lowercase().replace(['_', '.'], "-").parse()
    }
}

impl Alias {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for EndpointName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let is_label = (1..=LABEL_CHARS_MAX).contains(&text.len())
            && text.bytes().all(inside)
            && !text.starts_with('-')
            && !text.ends_with('-');
        if is_label { Ok(Self(text.to_owned())) } else { Err(NameError::NotALabel(text.to_owned())) }
    }
}

impl FromStr for Alias {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let inside = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let is_alias =
            (1..=ALIAS_CHARS_MAX).contains(&text.len()) && text.bytes().all(inside) && !text.starts_with('.');
        if is_alias { Ok(Self(text.to_owned())) } else { Err(NameError::NotAnAlias(text.to_owned())) }
    }
}

macro_rules! text_conversions {
    ($type:ty) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.0
            }
        }
    };
}

text_conversions!(EndpointName);
text_conversions!(Alias);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_stem_becomes_a_label() {
        assert_eq!(EndpointName::from_stem("silero_vad").unwrap().as_str(), "silero-vad");
        assert_eq!(EndpointName::from_stem("ResNet50.v1").unwrap().as_str(), "resnet50-v1");
    }

    #[test]
    fn what_is_no_label_is_refused() {
        for text in ["", "-a", "a-", "A", "a_b", "a.b", "../x", "a/b", &"a".repeat(64)] {
            assert!(text.parse::<EndpointName>().is_err(), "{text}");
        }
        assert!("a".repeat(63).parse::<EndpointName>().is_ok());
    }

    #[test]
    fn an_alias_cannot_climb() {
        for text in ["", ".", "..", ".a", "a/b", "a b", "ä"] {
            assert!(text.parse::<Alias>().is_err(), "{text}");
        }
        assert!("Silero_VAD.v5".parse::<Alias>().is_ok());
    }
}

use std::fmt;

use serde::{Deserialize, Serialize};

/// As of Linux, with its NUL.
const BYTES_MAX: usize = 4_095;

/// An absolute path in its one spelling: no part of it is empty, `.` or `..`, and it is not `/`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MountPath(String);

/// Why nothing can be mounted at a path, or from it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MountPathError {
    #[error("it is not absolute: it begins with no `/`")]
    Relative,
    #[error("it is the root itself")]
    Root,
    #[error("`..` has no place in it")]
    Parent,
    #[error("it holds a NUL")]
    Nul,
    #[error("it is longer than {BYTES_MAX} bytes")]
    TooLong,
}

impl MountPath {
    /// Takes what means the same, as `/a//b/`, and spells it out.
    ///
    /// # Errors
    /// See [`MountPathError`].
    pub fn new(text: &str) -> Result<Self, MountPathError> {
        if !text.starts_with('/') {
            return Err(MountPathError::Relative);
        }
        if text.contains('\0') {
            return Err(MountPathError::Nul);
        }
        let mut path = String::with_capacity(text.len());
        for part in text.split('/').filter(|part| !part.is_empty() && *part != ".") {
            if part == ".." {
                return Err(MountPathError::Parent);
            }
            path.push('/');
            path.push_str(part);
        }
        match path.len() {
            0 => Err(MountPathError::Root),
            length if length > BYTES_MAX => Err(MountPathError::TooLong),
            _ => Ok(Self(path)),
        }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is `other` or below it.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        self.below(other).is_some()
    }

    /// What of it comes after `other`, without a slash at its beginning; empty where both are the same.
    #[must_use]
    pub fn below(&self, other: &Self) -> Option<&str> {
        match self.0.strip_prefix(&other.0)? {
            "" => Some(""),
            rest => rest.strip_prefix('/'),
        }
    }
}

impl fmt::Display for MountPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for MountPath {
    type Error = MountPathError;

    /// Only the one spelling, so that what is written down is what it was.
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(&text)
    }
}

impl From<MountPath> for String {
    fn from(path: MountPath) -> Self {
        path.0
    }
}

impl std::str::FromStr for MountPath {
    type Err = MountPathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_path_has_one_spelling() {
        for (text, path) in [("/a", "/a"), ("/a//b/", "/a/b"), ("/./a/.", "/a")] {
            assert_eq!(MountPath::new(text).unwrap().as_str(), path);
        }
        for (text, error) in [
            ("", MountPathError::Relative),
            ("a", MountPathError::Relative),
            ("/", MountPathError::Root),
            ("/./", MountPathError::Root),
            ("/a/../b", MountPathError::Parent),
            ("/a\0", MountPathError::Nul),
        ] {
            assert_eq!(MountPath::new(text), Err(error), "{text:?}");
        }
        assert_eq!(MountPath::new(&format!("/{}", "a".repeat(BYTES_MAX))), Err(MountPathError::TooLong));
    }

    #[test]
    fn what_is_below_is_told_by_parts_and_not_by_letters() {
        let path = |text: &str| MountPath::new(text).unwrap();
        assert_eq!(path("/srv/data/x").below(&path("/srv/data")), Some("x"));
        assert_eq!(path("/srv/data").below(&path("/srv/data")), Some(""));
        assert_eq!(path("/srv/database").below(&path("/srv/data")), None);
        assert!(!path("/srv").is_within(&path("/srv/data")));
    }
}

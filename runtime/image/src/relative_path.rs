use std::{fmt, path::Path, str::FromStr};

/// The longest path of a model's file, in bytes.
const PATH_BYTES_MAX: usize = 1_024;
/// The longest name that file systems take, in bytes.
const NAME_BYTES_MAX: usize = 255;
/// Directories within directories, the file included.
const DEPTH_MAX: usize = 16;

/// A path beneath a model's directory: `weights/layer1.bin`. It has no empty part, no `.` and no
/// `..`, is not absolute and has no control character.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelativePath(String);

/// Why a text is no path beneath a model's directory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RelativePathError {
    #[error("the path of a file is empty")]
    Empty,
    #[error("{0:?} is an absolute path; a model's files are named relative to its directory")]
    Absolute(String),
    #[error("{0:?} leaves the model's directory")]
    Parent(String),
    #[error("{0:?} has a control character")]
    Control(String),
    #[error("a path of {bytes} bytes is longer than {PATH_BYTES_MAX}, or one of its names than {NAME_BYTES_MAX}")]
    TooLong { bytes: usize },
    #[error("{0:?} is more than {DEPTH_MAX} directories deep")]
    TooDeep(String),
}

impl RelativePath {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    #[must_use]
    pub fn as_path(&self) -> &Path {
        Path::new(&self.0)
    }

    /// The directories the file is in, the outermost first.
    pub fn directories(&self) -> impl Iterator<Item = &str> {
        self.0.match_indices('/').filter_map(|(end, _)| self.0.get(..end))
    }
}

impl FromStr for RelativePath {
    type Err = RelativePathError;

    /// Reads a path as ONNX writes it; `./a//b` is the same as `a/b`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > PATH_BYTES_MAX {
            return Err(RelativePathError::TooLong { bytes: text.len() });
        }
        if text.chars().any(char::is_control) {
            return Err(RelativePathError::Control(text.to_owned()));
        }
        if text.starts_with('/') {
            return Err(RelativePathError::Absolute(text.to_owned()));
        }
        let parts: Vec<&str> = text.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
        if parts.contains(&"..") {
            return Err(RelativePathError::Parent(text.to_owned()));
        }
        if parts.iter().any(|part| part.len() > NAME_BYTES_MAX) {
            return Err(RelativePathError::TooLong { bytes: text.len() });
        }
        match parts.len() {
            0 => Err(RelativePathError::Empty),
            1..=DEPTH_MAX => Ok(Self(parts.join("/"))),
            _ => Err(RelativePathError::TooDeep(text.to_owned())),
        }
    }
}

impl fmt::Display for RelativePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_are_normalised() {
        for (text, path) in [
            ("model.onnx", "model.onnx"),
            ("./w.bin", "w.bin"),
            ("a//b/./c", "a/b/c"),
            ("..a/b..", "..a/b.."),
            ("a/", "a"),
        ] {
            assert_eq!(text.parse::<RelativePath>().unwrap().as_str(), path);
        }
        let deep: RelativePath = "a/b/c".parse().unwrap();
        assert_eq!(deep.directories().collect::<Vec<_>>(), ["a", "a/b"]);
    }

    #[test]
    fn what_could_leave_the_directory_is_refused() {
        let long = "a".repeat(NAME_BYTES_MAX + 1);
        let longer = "a/".repeat(PATH_BYTES_MAX);
        let deep = ["a"; DEPTH_MAX + 1].join("/");
        for text in [
            "",
            ".",
            "./",
            "/",
            "/etc/passwd",
            "..",
            "../x",
            "a/../../x",
            "a/..",
            "a\0b",
            "a\nb",
            &long,
            &longer,
            &deep,
        ] {
            assert!(text.parse::<RelativePath>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_stays_beneath(text in "[a./\\\\\u{1}ä]{0,24}") {
            if let Ok(path) = text.parse::<RelativePath>() {
                use std::path::Component;
                prop_assert!(path.as_path().components().all(|part| matches!(part, Component::Normal(_))));
                prop_assert_eq!(path.as_str().parse(), Ok(path.clone()));
            }
        }
    }
}

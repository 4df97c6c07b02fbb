use std::fmt;

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};

/// Parts of a path within a volume.
const DEPTH_MAX: usize = 16;
/// As of Linux.
const NAME_BYTES_MAX: usize = 255;

/// A file of a config map or a secret, as it is seen in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VolumeFile {
    pub path: FilePath,
    /// Its permission bits, of which those to write and to execute are of no use where it is not a script.
    pub mode: u32,
    pub contents: FileContents,
}

/// Where a file is within its volume: names of files joined by `/`, none of them `.` or `..`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FilePath(String);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it is no path within a volume: names of files, none of them `.` or `..`, joined by `/`")]
pub struct FilePathError;

impl FilePath {
    /// # Errors
    /// Where it could lead out of its volume, or no file system would take it.
    pub fn new(text: &str) -> Result<Self, FilePathError> {
        let is_name =
            |part: &str| !matches!(part, "" | "." | "..") && part.len() <= NAME_BYTES_MAX && !part.contains('\0');
        let is_path = text.split('/').all(is_name) && text.split('/').count() <= DEPTH_MAX;
        if is_path { Ok(Self(text.to_owned())) } else { Err(FilePathError) }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its last part.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }
}

impl TryFrom<String> for FilePath {
    type Error = FilePathError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(&text)
    }
}

impl From<FilePath> for String {
    fn from(path: FilePath) -> Self {
        path.0
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is in a file. It may be a secret and is not shown. In JSON it is base64.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FileContents(Vec<u8>);

impl FileContents {
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl TryFrom<String> for FileContents {
    type Error = base64::DecodeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        BASE64_STANDARD.decode(text).map(Self)
    }
}

impl From<FileContents> for String {
    fn from(contents: FileContents) -> Self {
        BASE64_STANDARD.encode(contents.0)
    }
}

impl fmt::Debug for FileContents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_file_stays_in_its_volume() {
        for path in ["a", "a/b", "..data", "a b"] {
            assert_eq!(FilePath::new(path).unwrap().as_str(), path);
        }
        assert_eq!((FilePath::new("a/b").unwrap().name(), FilePath::new("a").unwrap().name()), ("b", "a"));
        for path in ["", "/a", "a/", "a//b", ".", "..", "a/../b", "a\0", &"a".repeat(256), &"a/".repeat(20)] {
            assert!(FilePath::new(path).is_err(), "{path:?}");
        }
    }

    #[test]
    fn contents_survive_json_and_are_not_shown() {
        let contents = FileContents::new(vec![0, 255, b'x']);
        let text = serde_json::to_string(&contents).unwrap();
        assert_eq!(text, r#""AP94""#);
        assert_eq!(serde_json::from_str::<FileContents>(&text).unwrap(), contents);
        assert_eq!(format!("{contents:?}"), "3 bytes");
    }
}

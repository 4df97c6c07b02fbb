use std::{
    ffi::OsString,
    fmt,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
    str::FromStr,
};

/// A `file://` URI: an absolute path on the machine of whoever deploys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileUri(PathBuf);

/// Why a text is no `file://` URI of a model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileUriError {
    #[error("`{0}` cannot be fetched: only `file:///absolute/path` is supported, a path on the machine that deploys")]
    Scheme(String),
    #[error("`{0}` names a host; a file of this machine has three slashes: `file:///absolute/path`")]
    Host(String),
    #[error("`{uri}` has a `{character}`, which a URI's path writes as `{escape}`")]
    NotEscaped { uri: String, character: char, escape: &'static str },
    #[error("`{0}` has a `%` without two hex digits after it; a path's own `%` is written `%25`")]
    BadEscape(String),
    #[error("`{0}` has a zero byte, which no path has")]
    Zero(String),
}

impl FileUri {
    /// The path, absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl FromStr for FileUri {
    type Err = FileUriError;

    fn from_str(uri: &str) -> Result<Self, Self::Err> {
        let rest = uri.strip_prefix("file://").ok_or_else(|| FileUriError::Scheme(uri.to_owned()))?;
        let path = rest.strip_prefix("localhost").filter(|path| path.starts_with('/')).unwrap_or(rest);
        if !path.starts_with('/') {
            return Err(FileUriError::Host(uri.to_owned()));
        }
        for (character, escape) in [('?', "%3F"), ('#', "%23")] {
            if path.contains(character) {
                return Err(FileUriError::NotEscaped { uri: uri.to_owned(), character, escape });
            }
        }
        let bytes = unescape(path).ok_or_else(|| FileUriError::BadEscape(uri.to_owned()))?;
        if bytes.contains(&0) {
            return Err(FileUriError::Zero(uri.to_owned()));
        }
        Ok(Self(OsString::from_vec(bytes).into()))
    }
}

/// Undoes percent-encoding; None where a `%` is not followed by two hex digits.
fn unescape(path: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(if byte == b'%' { hex(rest.next()?)? << 4 | hex(rest.next()?)? } else { byte });
    }
    Some(bytes)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

impl fmt::Display for FileUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("file://")?;
        for byte in self.0.as_os_str().as_bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'.' | b'_' | b'~' => {
                    write!(f, "{}", char::from(*byte))?;
                }
                _ => write!(f, "%{byte:02X}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_path_is_read_and_written_back() {
        for (uri, path) in [
            ("file:///models/a.onnx", "/models/a.onnx"),
            ("file://localhost/models/a.onnx", "/models/a.onnx"),
            ("file:///a%20b%25%C3%A4", "/a b%ä"),
            ("file:///a b", "/a b"),
        ] {
            let parsed: FileUri = uri.parse().unwrap();
            assert_eq!(parsed.path(), Path::new(path));
            assert_eq!(parsed.to_string().parse(), Ok(parsed));
        }
    }

    #[test]
    fn bytes_that_are_no_utf8_survive() {
        let parsed: FileUri = "file:///%ff".parse().unwrap();
        assert_eq!(parsed.path().as_os_str().as_bytes(), b"/\xff");
        assert_eq!(parsed.to_string(), "file:///%FF");
    }

    #[test]
    fn what_is_no_file_uri_is_refused() {
        let not_escaped = |uri: String| FileUriError::NotEscaped { uri, character: '?', escape: "%3F" };
        for (uri, error) in [
            ("", FileUriError::Scheme as fn(String) -> FileUriError),
            ("/models/a.onnx", FileUriError::Scheme),
            ("FILE:///a", FileUriError::Scheme),
            ("file:/a", FileUriError::Scheme),
            ("s3://bucket/a", FileUriError::Scheme),
            ("file://", FileUriError::Host),
            ("file://models/a", FileUriError::Host),
            ("file://localhost.evil/a", FileUriError::Host),
            ("file:///a?b", not_escaped),
            ("file:///a%2", FileUriError::BadEscape),
            ("file:///a%+1", FileUriError::BadEscape),
            ("file:///a%00b", FileUriError::Zero),
        ] {
            assert_eq!(uri.parse::<FileUri>(), Err(error(uri.to_owned())));
        }
    }
}

//! Where in its layer an entry belongs.

use std::fmt;

use crate::error_chain;

/// The longest name, in bytes: what the kernel takes as a path.
pub const NAME_BYTES_MAX: usize = 4_095;
/// The longest part of one, in bytes.
const PART_BYTES_MAX: usize = 255;
/// How deep a tree may be, in directories.
const DEPTH_MAX: usize = 256;
/// How much of a name is quoted, in bytes.
const QUOTED_BYTES_MAX: usize = 160;

/// A path below the root of a layer: parts joined by `/`, none of which is empty, `.` or `..`. The root
/// itself has no part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(Vec<u8>);

/// Why a text names no place in a layer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("it has no name")]
    Empty,
    #[error("its name has a NUL in it")]
    Nul,
    #[error("its name climbs out of its directory by `..`")]
    Climbs,
    #[error("its name has {bytes} bytes, over the limit of {NAME_BYTES_MAX}")]
    Long { bytes: usize },
    #[error("a part of its name has {bytes} bytes, over the limit of {PART_BYTES_MAX}")]
    LongPart { bytes: usize },
    #[error("it is {depth} directories deep, over the limit of {DEPTH_MAX}")]
    Deep { depth: usize },
}

impl Name {
    /// Reads a name as archives spell it: whatever it begins with, it is meant from the layer's root.
    ///
    /// # Errors
    /// Where it leaves the layer, or is over a limit.
    pub fn parse(spelt: &[u8]) -> Result<Self, NameError> {
        if spelt.is_empty() {
            return Err(NameError::Empty);
        }
        if spelt.contains(&0) {
            return Err(NameError::Nul);
        }
        if spelt.len() > NAME_BYTES_MAX {
            return Err(NameError::Long { bytes: spelt.len() });
        }
        let parts: Vec<&[u8]> = spelt.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b".")).collect();
        if crate::defence::Defence::NamesStay.stands() && parts.contains(&b"..".as_slice()) {
            return Err(NameError::Climbs);
        }
        if let Some(part) = parts.iter().find(|part| part.len() > PART_BYTES_MAX) {
            return Err(NameError::LongPart { bytes: part.len() });
        }
        if parts.len() > DEPTH_MAX {
            return Err(NameError::Deep { depth: parts.len() });
        }
        Ok(Self(parts.join(b"/".as_slice())))
    }

    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Empty for the root.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// From the first part to the last.
    pub fn parts(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'/').filter(|part| !part.is_empty())
    }

    /// The directory that it is in, and its last part; `None` of the root.
    #[must_use]
    pub fn split(&self) -> Option<(Self, &[u8])> {
        if self.is_root() {
            return None;
        }
        match self.0.iter().rposition(|byte| *byte == b'/') {
            Some(at) => Some((Self(self.0.get(..at)?.to_vec()), self.0.get(at + 1..)?)),
            None => Some((Self(Vec::new()), &self.0)),
        }
    }

    /// What is called so in the directory of this name.
    pub(super) fn beside(directory: &Self, part: &[u8]) -> Self {
        let mut bytes = directory.0.clone();
        if !bytes.is_empty() {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(part);
        Self(bytes)
    }
}

/// For messages: on one line, and not longer than one.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() { f.write_str("/") } else { f.write_str(&quoted(&self.0)) }
    }
}

/// What an archive says, fit for a message.
pub(super) fn quoted(bytes: &[u8]) -> String {
    let mut text = error_chain::on_one_line(&String::from_utf8_lossy(bytes));
    if text.len() > QUOTED_BYTES_MAX {
        text.truncate(text.floor_char_boundary(QUOTED_BYTES_MAX));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_name_is_meant_from_the_root_of_the_layer() {
        for (spelt, meant) in [
            ("etc/passwd", "etc/passwd"),
            ("./etc/passwd", "etc/passwd"),
            ("/etc/passwd", "etc/passwd"),
            ("//etc/.//passwd/", "etc/passwd"),
            ("./", ""),
            ("/", ""),
            ("...", "..."),
            ("a/..b", "a/..b"),
        ] {
            assert_eq!(Name::parse(spelt.as_bytes()).unwrap().as_bytes(), meant.as_bytes(), "{spelt}");
        }
    }

    #[test]
    fn what_leaves_the_layer_or_is_too_much_is_refused() {
        let parse = |spelt: &str| Name::parse(spelt.as_bytes());
        assert_eq!(parse(""), Err(NameError::Empty));
        assert_eq!(parse("a\0b"), Err(NameError::Nul));
        for spelt in ["..", "../x", "a/../b", "a/..", "/../x", "./../x"] {
            assert_eq!(parse(spelt), Err(NameError::Climbs), "{spelt}");
        }
        assert!(parse(&"a".repeat(255)).is_ok());
        assert_eq!(parse(&"a".repeat(256)), Err(NameError::LongPart { bytes: 256 }));
        assert!(parse(&"a/".repeat(256)).is_ok());
        assert_eq!(parse(&"a/".repeat(257)), Err(NameError::Deep { depth: 257 }));
        assert_eq!(parse(&"a/".repeat(2_048)), Err(NameError::Long { bytes: 4_096 }));
    }

    #[test]
    fn a_name_is_taken_apart_and_put_together() {
        let name = Name::parse(b"a/b/c").unwrap();
        let (directory, last) = name.split().unwrap();
        assert_eq!((directory.as_bytes(), last), (b"a/b".as_slice(), b"c".as_slice()));
        assert_eq!(Name::beside(&directory, b"c"), name);
        assert!(Name::parse(b"/").unwrap().split().is_none());
        assert!(Name::parse(b"a").unwrap().split().unwrap().0.is_root());
    }

    #[test]
    fn a_message_quotes_no_more_than_a_line_takes() {
        let long = Name::parse(format!("a\n{}", "\u{e9}".repeat(120)).as_bytes()).unwrap().to_string();
        assert!(long.len() <= QUOTED_BYTES_MAX + 3 && !long.contains('\n'), "{long}");
    }
}

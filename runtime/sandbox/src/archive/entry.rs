//! What one entry of an archive asks for, checked.

use super::{
    extensions::{EXTENSIONS_BYTES_MAX, EXTENSIONS_MAX},
    name::{Name, NameError},
    pax::PaxError,
};
use crate::{defence::Defence, devices::DeviceKind};

/// What a name begins with that hides what lower layers have, and is no file.
const WHITEOUT: &[u8] = b".wh.";
/// The file that hides all that lower layers have in its directory.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Other names that begin so are another storage driver's.
const NOTE: &[u8] = b".wh..wh.";
/// Of `user.*`, what an overlay file system takes for its own.
const OVERLAYS_OWN: &str = "user.overlay.";
/// Rights of a program.
const CAPABILITIES: &str = "security.capability";

/// An entry whose name stays in its layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub name: Name,
    pub what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Its data follows.
    File {
        size: u64,
        attributes: Attributes,
    },
    Directory {
        attributes: Attributes,
    },
    /// Whatever it leads to is taken as it is said.
    Symlink {
        target: Vec<u8>,
        attributes: Attributes,
    },
    /// Another name of a file of the same layer.
    HardLink {
        target: Name,
    },
    Fifo {
        attributes: Attributes,
    },
    /// Nothing is here, whatever lower layers have.
    Whiteout,
    /// Of this directory, nothing that lower layers have is in it.
    Opaque,
    Device {
        kind: DeviceKind,
        number: (u32, u32),
    },
    /// Another storage driver's note to itself.
    Note,
}

/// Owner, mode, time and extended attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributes {
    pub uid: ImageId,
    pub gid: ImageId,
    /// With the bits for set-user-id, set-group-id and sticky.
    pub mode: u32,
    pub modified: Timestamp,
    pub extended: Vec<ExtendedAttribute>,
    /// How many more it has that are not kept.
    pub left_out: u64,
}

/// A user or a group of an image: there are 65,536 of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageId(u16);

/// A moment, counted from 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timestamp {
    pub seconds: i64,
    /// Below one thousand million, forward from the second.
    pub nanoseconds: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtendedAttribute {
    pub name: String,
    pub value: Vec<u8>,
}

/// Why an entry is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(transparent)]
    Pax(#[from] PaxError),
    #[error("the {0} in its header is no number")]
    Number(&'static str),
    #[error("it belongs to {what} {id}, beyond the 65,536 ids of an image")]
    Id { what: &'static str, id: u64 },
    #[error("it is another name of something whose name is not one: {0}")]
    Target(#[source] NameError),
    #[error("it leads to nowhere: a symbolic link with a target of {bytes} bytes")]
    Symlink { bytes: usize },
    #[error("it is a file with holes (GNU sparse): make the image's layer without `--sparse`")]
    Sparse,
    #[error("it is a device node of number 0:0, which overlay file systems take for a whiteout")]
    WhiteoutDevice,
    #[error("it hides something that is no name of a file")]
    Whiteout,
    #[error("it is in a directory whose name begins with `.wh.`")]
    InWhiteout,
    #[error("it is the root of the layer, and no directory")]
    Root,
    #[error("it is of type `{}`, which no layer has", char::from(*.0).escape_default())]
    Type(u8),
    #[error("its {what} has {bytes} bytes, over the limit of {max}")]
    Extension { what: &'static str, bytes: u64, max: u64 },
    #[error("its extended headers are over the limit of {EXTENSIONS_MAX}, or of {EXTENSIONS_BYTES_MAX} bytes together")]
    Extensions,
}

impl Entry {
    /// What the entry means: names that begin with `.wh.` are whiteouts, whatever else they say they are.
    pub(super) fn of(name: Name, what: What) -> Result<Self, EntryError> {
        let Some((directory, last)) = name.split() else {
            return if matches!(what, What::Directory { .. }) {
                Ok(Self { name, what })
            } else {
                Err(EntryError::Root)
            };
        };
        if name.parts().any(|part| part.starts_with(NOTE) && part != OPAQUE) {
            return Ok(Self { what: What::Note, name });
        }
        if directory.parts().any(|part| part.starts_with(WHITEOUT)) {
            return Err(EntryError::InWhiteout);
        }
        if last == OPAQUE {
            return Ok(Self { what: What::Opaque, name: directory });
        }
        match last.strip_prefix(WHITEOUT) {
            None => Ok(Self { what, name }),
            Some(b"" | b"." | b"..") => Err(EntryError::Whiteout),
            Some(hidden) => Ok(Self { name: Name::beside(&directory, hidden), what: What::Whiteout }),
        }
    }
}

impl ImageId {
    pub(super) fn new(what: &'static str, id: u64) -> Result<Self, EntryError> {
        #[cfg(weakened)]
        if !Defence::IdsInRange.stands() {
            return Ok(Self(u16::try_from(id & 0xffff).unwrap_or_default()));
        }
        u16::try_from(id).map(Self).map_err(|_| EntryError::Id { what, id })
    }

    #[must_use]
    pub fn get(self) -> u32 {
        self.0.into()
    }
}

impl ExtendedAttribute {
    /// Whether it goes with the file. Whatever else a host's kernel, a host's security module or a storage
    /// driver knows an attribute by, no image has a say in it.
    pub(super) fn is_kept(&self) -> bool {
        let is_chosen =
            self.name == CAPABILITIES || (self.name.starts_with("user.") && !self.name.starts_with(OVERLAYS_OWN));
        is_chosen && !self.name.contains('\0') || !Defence::AttributesChosen.stands()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const DEVICE: What = What::Device { kind: DeviceKind::Char, number: (1, 3) };

    fn of(name: &str) -> Result<(String, What), EntryError> {
        let entry = Entry::of(Name::parse(name.as_bytes()).unwrap(), DEVICE)?;
        Ok((entry.name.to_string(), entry.what))
    }

    #[test]
    fn a_whiteout_is_what_its_name_says() {
        assert_eq!(of("a/.wh.b"), Ok(("a/b".to_owned(), What::Whiteout)));
        assert_eq!(of(".wh...."), Ok(("...".to_owned(), What::Whiteout)));
        assert_eq!(of("a/.wh..wh..opq"), Ok(("a".to_owned(), What::Opaque)));
        assert_eq!(of(".wh..wh..opq"), Ok(("/".to_owned(), What::Opaque)));
        for note in [".wh..wh.aufs", ".wh..wh.plnk/1.2", "a/.wh..wh.orph", "a/.wh..wh..opqx"] {
            assert_eq!(of(note).unwrap().1, What::Note, "{note}");
        }
        assert_eq!(of("a.wh.b"), Ok(("a.wh.b".to_owned(), DEVICE)));
    }

    #[test]
    fn a_whiteout_hides_a_name_and_nothing_else() {
        for name in [".wh.", "a/.wh.", ".wh..", ".wh...", "a/.wh..."] {
            assert_eq!(of(name), Err(EntryError::Whiteout), "{name}");
        }
        for name in [".wh.a/b", "a/.wh.b/c", ".wh.a/.wh.b", ".wh..wh..opq/x"] {
            assert_eq!(of(name), Err(EntryError::InWhiteout), "{name}");
        }
        assert_eq!(of("/"), Err(EntryError::Root));
    }

    #[test]
    fn an_image_has_65536_ids() {
        assert_eq!(ImageId::new("user", 65_535).unwrap().get(), 65_535);
        assert_eq!(ImageId::new("user", 65_536), Err(EntryError::Id { what: "user", id: 65_536 }));
    }

    #[test]
    fn of_attributes_only_capabilities_and_the_users_own_are_kept() {
        let is_kept = |name: &str| ExtendedAttribute { name: name.to_owned(), value: Vec::new() }.is_kept();
        assert!(is_kept("security.capability") && is_kept("user.mime_type"));
        for name in [
            "trusted.overlay.opaque",
            "trusted.overlay.redirect",
            "user.overlay.opaque",
            "user.overlay.redirect",
            "security.selinux",
            "security.ima",
            "system.posix_acl_access",
            "user.a\0b",
            "user",
            "",
        ] {
            assert!(!is_kept(name), "{name}");
        }
    }
}

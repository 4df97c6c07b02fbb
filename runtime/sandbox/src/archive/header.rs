//! One block of an archive that is a header: of an entry, or of what is said about the next one.

use std::borrow::Cow;

use tar::{EntryType, Header};

use super::{
    BLOCK,
    entry::{Attributes, Entry, EntryError, ImageId, Timestamp, What},
    name::{NAME_BYTES_MAX, Name},
    pax::{PAX_BYTES_MAX, Pax},
};
use crate::devices::DeviceKind;

/// Where the sum of a header's bytes is in it.
const SUM: std::ops::Range<usize> = 148..156;

/// What was said about the entry that follows.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) long_name: Option<Vec<u8>>,
    pub(super) long_link: Option<Vec<u8>>,
    pub(super) pax: Pax,
}

/// What a header is of.
pub(super) enum Found {
    Extension {
        what: Extension,
        bytes: u64,
    },
    Entry {
        entry: Entry,
        /// Bytes that follow, without their padding.
        data: u64,
    },
}

/// What says something about other entries.
#[derive(Debug, Clone, Copy)]
pub(super) enum Extension {
    LongName,
    LongLink,
    Pax,
    GlobalPax,
}

impl Extension {
    /// With a NUL at its end, as GNU writes names.
    pub(super) fn bytes_max(self) -> u64 {
        match self {
            Self::LongName | Self::LongLink => NAME_BYTES_MAX as u64 + 1,
            Self::Pax | Self::GlobalPax => PAX_BYTES_MAX,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::LongName => "name",
            Self::LongLink => "link's target",
            Self::Pax | Self::GlobalPax => "extended header",
        }
    }
}

/// Whether the block's bytes sum up to what it says.
pub(super) fn is_whole(block: &[u8; BLOCK]) -> bool {
    let bytes = block.iter().enumerate();
    let sum: u32 = bytes.map(|(at, byte)| u32::from(if SUM.contains(&at) { b' ' } else { *byte })).sum();
    Header::from_byte_slice(block).cksum().is_ok_and(|said| said == sum)
}

/// The name as the archive spells it.
pub(super) fn spelt_name<'a>(block: &'a [u8; BLOCK], said: &'a Said) -> Cow<'a, [u8]> {
    let long = said.pax.path.as_ref().or(said.long_name.as_ref());
    long.map_or_else(|| Header::from_byte_slice(block).path_bytes(), |long| Cow::Borrowed(long.as_slice()))
}

pub(super) fn read(block: &[u8; BLOCK], said: &Said) -> Result<Found, EntryError> {
    let header = Header::from_byte_slice(block);
    let size = || header.entry_size().map_err(|_| EntryError::Number("size"));
    let extension = |what| Ok(Found::Extension { what, bytes: size()? });
    match header.entry_type() {
        EntryType::GNULongName => extension(Extension::LongName),
        EntryType::GNULongLink => extension(Extension::LongLink),
        EntryType::XHeader => extension(Extension::Pax),
        EntryType::XGlobalHeader => extension(Extension::GlobalPax),
        EntryType::GNUSparse => Err(EntryError::Sparse),
        _ if said.pax.is_sparse => Err(EntryError::Sparse),
        kind => {
            let spelt = spelt_name(block, said);
            let what = what(header, kind, &spelt, said)?;
            let data = if let What::File { size, .. } = &what { *size } else { 0 };
            Ok(Found::Entry { entry: Entry::of(Name::parse(&spelt)?, what)?, data })
        }
    }
}

/// Only files have data: of everything else a size is read as nothing by those who write such headers.
fn what(header: &Header, kind: EntryType, spelt: &[u8], said: &Said) -> Result<What, EntryError> {
    let attributes = || attributes(header, said);
    let header_size = || header.entry_size().map_err(|_| EntryError::Number("size"));
    let file = || Ok(What::File { size: said.pax.size.map_or_else(header_size, Ok)?, attributes: attributes()? });
    match kind {
        // The oldest archives know a directory by its name alone.
        EntryType::Regular if header.as_old().linkflag == [0] && spelt.ends_with(b"/") => {
            Ok(What::Directory { attributes: attributes()? })
        }
        EntryType::Regular | EntryType::Continuous => file(),
        EntryType::Directory => Ok(What::Directory { attributes: attributes()? }),
        EntryType::Symlink => symlink(&target(header, said), attributes()?),
        EntryType::Link => {
            Ok(What::HardLink { target: Name::parse(&target(header, said)).map_err(EntryError::Target)? })
        }
        EntryType::Fifo => Ok(What::Fifo { attributes: attributes()? }),
        EntryType::Char if number(header) == (0, 0) => Err(EntryError::WhiteoutDevice),
        EntryType::Char => Ok(What::Device { kind: DeviceKind::Char, number: number(header) }),
        EntryType::Block => Ok(What::Device { kind: DeviceKind::Block, number: number(header) }),
        other => Err(EntryError::Type(other.as_byte())),
    }
}

fn target<'a>(header: &'a Header, said: &'a Said) -> Cow<'a, [u8]> {
    let long = said.pax.link_path.as_ref().or(said.long_link.as_ref());
    long.map_or_else(|| header.link_name_bytes().unwrap_or_default(), |long| Cow::Borrowed(long.as_slice()))
}

fn symlink(target: &[u8], attributes: Attributes) -> Result<What, EntryError> {
    let is_one = (1..=NAME_BYTES_MAX).contains(&target.len()) && !target.contains(&0);
    if !is_one {
        return Err(EntryError::Symlink { bytes: target.len() });
    }
    Ok(What::Symlink { target: target.to_vec(), attributes })
}

/// Of a device.
fn number(header: &Header) -> (u32, u32) {
    // Numbers that are left empty are zeros.
    let number = |number: std::io::Result<Option<u32>>| number.ok().flatten().unwrap_or(0);
    (number(header.device_major()), number(header.device_minor()))
}

fn attributes(header: &Header, said: &Said) -> Result<Attributes, EntryError> {
    let fields = header.as_old();
    let uid = || or_nothing(&fields.uid, "user", || header.uid());
    let gid = || or_nothing(&fields.gid, "group", || header.gid());
    let (extended, left_out): (Vec<_>, Vec<_>) =
        said.pax.attributes.iter().cloned().partition(super::entry::ExtendedAttribute::is_kept);
    Ok(Attributes {
        uid: ImageId::new("user", said.pax.uid.map_or_else(uid, Ok)?)?,
        gid: ImageId::new("group", said.pax.gid.map_or_else(gid, Ok)?)?,
        mode: or_nothing(&fields.mode, "mode", || header.mode())? & 0o7777,
        modified: said.pax.modified.map_or_else(|| modified(header), Ok)?,
        extended,
        left_out: said.pax.attributes_left_out + left_out.len() as u64,
    })
}

fn modified(header: &Header) -> Result<Timestamp, EntryError> {
    let seconds = or_nothing(&header.as_old().mtime, "time", || header.mtime())?;
    Ok(Timestamp { seconds: i64::try_from(seconds).map_err(|_| EntryError::Number("time"))?, nanoseconds: 0 })
}

/// A number, 0 where its field is left empty, as other readers take it.
fn or_nothing<T: Default>(
    field: &[u8],
    name: &'static str,
    read: impl FnOnce() -> std::io::Result<T>,
) -> Result<T, EntryError> {
    if field.iter().all(|byte| matches!(byte, 0 | b' ')) {
        return Ok(T::default());
    }
    read().map_err(|_| EntryError::Number(name))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read_with(change: impl FnOnce(&mut tar::OldHeader)) -> Result<Attributes, EntryError> {
        let mut header = Header::new_gnu();
        header.set_path("directory/").unwrap();
        header.set_entry_type(EntryType::Directory);
        header.set_size(0);
        header.set_uid(7);
        header.set_gid(7);
        header.set_mode(0o7);
        header.set_mtime(7);
        change(header.as_old_mut());
        let found = read(header.as_bytes(), &Said::default())?;
        let Found::Entry { entry: Entry { what: What::Directory { attributes }, .. }, .. } = found else { panic!() };
        Ok(attributes)
    }

    #[test]
    fn a_number_that_is_left_empty_is_nothing_and_one_that_is_none_is_refused() {
        for empty in [b'\0', b' '] {
            let found = read_with(|header| {
                (header.uid, header.gid, header.mode) = ([empty; 8], [empty; 8], [empty; 8]);
                (header.mtime, header.size) = ([empty; 12], [empty; 12]);
            });
            let Attributes { uid, gid, mode, modified, .. } = found.unwrap();
            assert_eq!((uid.get(), gid.get(), mode, modified.seconds), (0, 0, 0, 0));
        }
        assert_eq!(read_with(|_| {}).unwrap().uid.get(), 7);
        assert!(matches!(read_with(|header| header.uid = *b" x      "), Err(EntryError::Number("user"))));
        assert!(matches!(read_with(|header| header.mtime = [b'9'; 12]), Err(EntryError::Number("time"))));
    }
}

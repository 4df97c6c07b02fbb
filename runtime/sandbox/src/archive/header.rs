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
    let uid = said.pax.uid.map_or_else(|| header.uid(), Ok).map_err(|_| EntryError::Number("user"))?;
    let gid = said.pax.gid.map_or_else(|| header.gid(), Ok).map_err(|_| EntryError::Number("group"))?;
    let (extended, left_out): (Vec<_>, Vec<_>) =
        said.pax.attributes.iter().cloned().partition(super::entry::ExtendedAttribute::is_kept);
    Ok(Attributes {
        uid: ImageId::new("user", uid)?,
        gid: ImageId::new("group", gid)?,
        mode: header.mode().map_err(|_| EntryError::Number("mode"))? & 0o7777,
        modified: said.pax.modified.map_or_else(|| modified(header), Ok)?,
        extended,
        left_out: said.pax.attributes_left_out + left_out.len() as u64,
    })
}

fn modified(header: &Header) -> Result<Timestamp, EntryError> {
    let wrong = EntryError::Number("time");
    let seconds = header.mtime().map_err(|_| wrong.clone())?;
    Ok(Timestamp { seconds: i64::try_from(seconds).map_err(|_| wrong)?, nanoseconds: 0 })
}

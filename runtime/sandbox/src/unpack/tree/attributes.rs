//! Owner, mode and extended attributes, in the order in which one does not undo another.

use std::{
    ffi::OsStr,
    os::fd::{BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{AtFlags, FileType, Gid, Mode, Uid, XattrFlags, chmodat, chownat, fchmod, fchown, fsetxattr, statat},
    io::Errno,
};

use super::{TreeError, failed};
use crate::archive::Attributes;

/// Of a file or a directory. Tells how many extended attributes are left out.
pub(super) fn of_descriptor(file: BorrowedFd<'_>, attributes: &Attributes) -> Result<u64, TreeError> {
    // A new owner takes the bits for set-user-id and the capabilities away.
    let (uid, gid) = owner(attributes);
    fchown(file, Some(uid), Some(gid)).map_err(failed("giving it to its owner"))?;
    fchmod(file, Mode::from_raw_mode(attributes.mode)).map_err(failed("setting its mode"))?;
    let mut left_out = attributes.left_out;
    for attribute in &attributes.extended {
        match fsetxattr(file, attribute.name.as_str(), &attribute.value, XattrFlags::empty()) {
            Ok(()) => {}
            // Not every file system keeps them, and not every kind of file has them.
            Err(Errno::OPNOTSUPP) => left_out += 1,
            // Too long or too many for this one. A file without its capabilities would not be what it is.
            Err(Errno::INVAL | Errno::TOOBIG | Errno::NOSPC | Errno::RANGE)
                if attribute.name != "security.capability" =>
            {
                left_out += 1;
            }
            Err(error) => return Err(failed("setting an extended attribute of it")(error)),
        }
    }
    Ok(left_out)
}

/// Of anything else: a link has no mode.
pub(super) fn by_name(directory: &OwnedFd, name: &OsStr, attributes: &Attributes) -> Result<(), TreeError> {
    let (uid, gid) = owner(attributes);
    chownat(directory, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(failed("giving it to its owner"))?;
    let found = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed("looking at it"))?;
    if FileType::from_raw_mode(found.st_mode) == FileType::Symlink {
        return Ok(());
    }
    // No link stands here to be followed: it was just seen, and nobody else changes the tree.
    chmodat(directory, name, Mode::from_raw_mode(attributes.mode), AtFlags::empty()).map_err(failed("setting its mode"))
}

fn owner(attributes: &Attributes) -> (Uid, Gid) {
    (Uid::from_raw(attributes.uid.get()), Gid::from_raw(attributes.gid.get()))
}

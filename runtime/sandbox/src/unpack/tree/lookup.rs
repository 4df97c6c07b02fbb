//! How names are looked up: within the tree, wherever its links lead.

use std::{
    ffi::OsString,
    os::{fd::OwnedFd, unix::ffi::OsStringExt},
};

use rustix::{
    fs::{Mode, OFlags, ResolveFlags, openat2},
    io::Errno,
};

use crate::{archive::Name, defence::Defence};

/// How often one name is looked up while others rename.
const LOOKUPS_MAX: u32 = 1_000;

/// Opens what there is in the tree. Of a link that leads up the kernel cannot tell where it led while anybody on
/// the machine renames anything, and says so at once.
pub(super) fn open_within(root: &OwnedFd, name: &Name, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let open = || openat2(root, place(name), flags, Mode::empty(), within());
    for _ in 1..LOOKUPS_MAX {
        match open() {
            Err(Errno::AGAIN | Errno::INTR) => {}
            opened => return opened,
        }
    }
    open()
}

/// How names are looked up: as if the tree were all there is.
fn within() -> ResolveFlags {
    if Defence::ParentsInRoot.stands() {
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS
    } else {
        ResolveFlags::empty()
    }
}

fn place(name: &Name) -> OsString {
    if name.is_root() { OsString::from(".") } else { OsString::from_vec(name.as_bytes().to_vec()) }
}

//! Unpacked layers, mounted with the ids of one replica.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::Path,
};

use dormouse_spec::Digest;
use nix::libc;
use rustix::{
    fs::{CWD, Mode, OFlags, ResolveFlags},
    mount::{MoveMountFlags, OpenTreeFlags},
};

use crate::uids::{ImageIds, RangeLease};

/// Where a layer's root is in its directory.
const TREE: &str = "sealed/tree";

/// Opens the root of a layer. Only root can have put it there.
pub(crate) fn open(layers: &Path, layer: &Digest) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let layers = rustix::fs::open(layers, flags, Mode::empty())?;
    rustix::fs::openat2(&layers, Path::new(&layer.directory_name()).join(TREE), flags, Mode::empty(), beneath)
}

/// A mount of what is open, attached nowhere; whoever uses it cannot write to it. With `shown_as`, its files are shown
/// with other ids: those that this user namespace gives the ids of the files.
pub(crate) fn clone(opened: BorrowedFd<'_>, shown_as: Option<BorrowedFd<'_>>) -> io::Result<OwnedFd> {
    clone_as(opened, shown_as, true)
}

/// The same, which may be written to where that is not `read_only`.
pub(crate) fn clone_as(
    opened: BorrowedFd<'_>,
    shown_as: Option<BorrowedFd<'_>>,
    read_only: bool,
) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = rustix::mount::open_tree(opened, "", flags)?;
    let mut attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    if read_only {
        attributes.attr_set |= libc::MOUNT_ATTR_RDONLY;
    }
    if let Some(namespace) = shown_as {
        attributes.attr_set |= libc::MOUNT_ATTR_IDMAP;
        attributes.userns_fd = u64::try_from(namespace.as_raw_fd()).unwrap_or(u64::MAX);
    }
    // SAFETY: the path is a C string, the attributes are of the type and the size that are named, and both live
    // until the call returns; it changes a mount that this process alone has.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 { Ok(tree) } else { Err(io::Error::last_os_error()) }
}

/// Attaches it at a directory.
pub(crate) fn attach(tree: &OwnedFd, place: &Path) -> rustix::io::Result<()> {
    rustix::mount::move_mount(tree.as_fd(), "", CWD, place, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

/// The namespace to show layers by, where they are to be shown with other ids than their own.
pub(crate) fn shown_as(ids: ImageIds, range: &RangeLease) -> io::Result<Option<OwnedFd>> {
    if range.base() == ids.base() {
        return Ok(None);
    }
    crate::userns::of_shown_files(ids, range).map(Some)
}

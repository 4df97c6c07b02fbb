//! A directory or a file of the host's that is lent to replicas.
//!
//! Every replica has ids of its own, so nothing on the host belongs to any of them. What is lent is shown so that what
//! belongs to its owner belongs to who runs in the container, and what is written there belongs to that owner: a file
//! that outlives its replica is nobody's else, and never root's.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use dormouse_spec::{HostPathType, MountPath};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};

use super::{LentPath, Runner, VolumeError, io_failed, layers};
use crate::userns;

/// What is at a path that is lent. It is held open: whatever the name leads to later, this is what is mounted.
#[derive(Debug)]
pub(super) struct Found {
    opened: OwnedFd,
    is_file: bool,
    /// Its user and its group.
    owner: (u32, u32),
    read_only: bool,
}

pub(super) fn find(
    lent: &[LentPath],
    asked: &MountPath,
    r#type: HostPathType,
    read_only: bool,
) -> Result<Found, VolumeError> {
    let lends = lent.iter().filter(|lent| asked.is_within(&lent.path));
    let lends = lends.max_by_key(|lent| lent.path.as_str().len()).ok_or(VolumeError::NotLent)?;
    if lends.read_only && !read_only {
        return Err(VolumeError::LentReadOnly);
    }
    let opened = open_within(lends, asked)?;
    let found = rustix::fs::fstat(&opened).map_err(io_failed("looking at it"))?;
    let is_file = match (FileType::from_raw_mode(found.st_mode), r#type) {
        (FileType::RegularFile, HostPathType::Any | HostPathType::File) => true,
        (FileType::Directory, HostPathType::Any | HostPathType::Directory) => false,
        (_, HostPathType::File) => return Err(VolumeError::NotOfType("file")),
        (_, HostPathType::Directory) => return Err(VolumeError::NotOfType("directory")),
        // A socket or a device would reach into what runs on the host.
        (_, HostPathType::Any) => return Err(VolumeError::NotOfType("directory and no file")),
    };
    let owner = (found.st_uid, found.st_gid);
    // Who is root, or of its group, is not shown as anybody.
    if (owner.0 == 0 || owner.1 == 0) && !read_only {
        return Err(VolumeError::OfRoot);
    }
    Ok(Found { opened, is_file, owner, read_only })
}

impl Found {
    pub(super) fn is_file(&self) -> bool {
        self.is_file
    }

    /// A mount of it in which it belongs to `runner`. Of what is not its owner's, or root's, what everybody may read can
    /// be read.
    pub(super) fn shown_to(&self, runner: Runner) -> Result<OwnedFd, VolumeError> {
        let cloned = |shown_as: Option<&OwnedFd>| {
            layers::clone_as(self.opened.as_fd(), shown_as.map(AsFd::as_fd), self.read_only)
        };
        let as_it_is = || cloned(None).map_err(io_failed("cloning its mount"));
        if self.owner.0 == 0 || self.owner.1 == 0 {
            return as_it_is();
        }
        let shown_as =
            userns::of_one_user(self.owner, (runner.uid, runner.gid)).map_err(io_failed("making an id map for it"))?;
        match cloned(Some(&shown_as)) {
            Err(error) if !is_unsupported(&error) => Err(io_failed("cloning its mount")(error)),
            Err(_) if self.read_only => as_it_is(),
            Err(error) => Err(VolumeError::NotShown(error)),
            Ok(tree) => Ok(tree),
        }
    }
}

fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(nix::libc::EINVAL | nix::libc::EOPNOTSUPP))
}

/// What is lent is where the host says, links and all; below it a link leads nowhere.
fn open_within(lent: &LentPath, asked: &MountPath) -> Result<OwnedFd, VolumeError> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let top = rustix::fs::open(lent.path.as_str(), flags, Mode::empty()).map_err(io_failed("opening it"))?;
    match asked.below(&lent.path).unwrap_or_default() {
        "" => Ok(top),
        below => {
            let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
            rustix::fs::openat2(&top, below, flags, Mode::empty(), beneath)
                .map_err(io_failed("opening it, where no link is followed,"))
        }
    }
}

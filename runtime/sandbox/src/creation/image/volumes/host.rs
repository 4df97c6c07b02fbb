//! A directory of the host's that is lent to replicas.
//!
//! Every replica has ids of its own, so nothing on the host belongs to any of them. A directory is shown so that what
//! belongs to its owner belongs to who runs in the container, and what is written there belongs to that owner: a file
//! that outlives its replica is nobody's else, and never root's.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use dormouse_spec::MountPath;
use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::{LentDirectory, Runner, VolumeError, io_failed, layers};
use crate::userns;

pub(super) fn open(
    lent: &[LentDirectory],
    asked: &MountPath,
    read_only: bool,
    runner: Runner,
) -> Result<OwnedFd, VolumeError> {
    let lends = lent.iter().filter(|lent| asked.is_within(&lent.path));
    let lends = lends.max_by_key(|lent| lent.path.as_str().len()).ok_or(VolumeError::NotLent)?;
    if lends.read_only && !read_only {
        return Err(VolumeError::LentReadOnly);
    }
    let directory = open_within(lends, asked)?;
    let owner = rustix::fs::fstat(&directory).map_err(io_failed("looking at it"))?;
    let cloned = |shown_as: Option<&OwnedFd>| layers::clone_as(directory.as_fd(), shown_as.map(AsFd::as_fd), read_only);
    if owner.st_uid == 0 || owner.st_gid == 0 {
        // Who is root, or of its group, is not shown as anybody: what everybody may read can be read.
        return if read_only { cloned(None).map_err(io_failed("cloning its mount")) } else { Err(VolumeError::OfRoot) };
    }
    let shown_as = userns::of_one_user((owner.st_uid, owner.st_gid), (runner.uid, runner.gid))
        .map_err(io_failed("making an id map for it"))?;
    match cloned(Some(&shown_as)) {
        Err(error) if !is_unsupported(&error) => Err(io_failed("cloning its mount")(error)),
        Err(_) if read_only => cloned(None).map_err(io_failed("cloning its mount")),
        Err(error) => Err(VolumeError::NotShown(error)),
        Ok(tree) => Ok(tree),
    }
}

fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(nix::libc::EINVAL | nix::libc::EOPNOTSUPP))
}

/// What is lent is where the host says, links and all; below it a link leads nowhere.
fn open_within(lent: &LentDirectory, asked: &MountPath) -> Result<OwnedFd, VolumeError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let top = rustix::fs::open(lent.path.as_str(), flags, Mode::empty()).map_err(io_failed("opening it"))?;
    match asked.below(&lent.path).unwrap_or_default() {
        "" => Ok(top),
        below => {
            let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
            rustix::fs::openat2(&top, below, flags | OFlags::NOFOLLOW, Mode::empty(), beneath)
                .map_err(io_failed("opening it, where no link is followed,"))
        }
    }
}

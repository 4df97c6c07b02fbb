//! When what was unpacked was last changed. A directory changes with each entry that is put into it, so
//! its time is set later.

use std::{
    ffi::OsStr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{AtFlags, OFlags, Timespec, Timestamps, UTIME_OMIT, futimens, utimensat},
    io::Errno,
};

use super::{TreeError, failed, lookup::open_within};
use crate::archive::{Name, Timestamp};

/// Names of directories that wait for their times, in bytes. Where there are more, those so far are set and
/// only what is put into them afterwards changes them again.
const WAITING_BYTES_MAX: usize = 8 << 20;

#[derive(Debug, Default)]
pub(super) struct Times {
    waiting: Vec<(Name, Timestamp)>,
    bytes: usize,
}

impl Times {
    pub(super) fn set_later(&mut self, root: &OwnedFd, name: &Name, modified: Timestamp) -> Result<(), TreeError> {
        self.bytes += name.as_bytes().len() + size_of::<(Name, Timestamp)>();
        self.waiting.push((name.clone(), modified));
        if self.bytes > WAITING_BYTES_MAX { self.set_all(root) } else { Ok(()) }
    }

    pub(super) fn set_all(&mut self, root: &OwnedFd) -> Result<(), TreeError> {
        self.bytes = 0;
        for (name, modified) in std::mem::take(&mut self.waiting) {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match open_within(root, &name, flags) {
                Ok(directory) => of_descriptor(directory.as_fd(), modified)?,
                // A later entry took its place.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(error) => return Err(failed("opening a directory for its time")(error)),
            }
        }
        Ok(())
    }
}

pub(super) fn of_descriptor(file: BorrowedFd<'_>, modified: Timestamp) -> Result<(), TreeError> {
    futimens(file, &timestamps(modified)).map_err(failed("setting its time"))
}

pub(super) fn by_name(directory: &OwnedFd, name: &OsStr, modified: Timestamp) -> Result<(), TreeError> {
    utimensat(directory, name, &timestamps(modified), AtFlags::SYMLINK_NOFOLLOW).map_err(failed("setting its time"))
}

fn timestamps(modified: Timestamp) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: modified.seconds, tv_nsec: modified.nanoseconds.into() },
    }
}

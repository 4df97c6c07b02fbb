//! What a layer may take of the disk that it is unpacked to.

use std::os::fd::OwnedFd;

use rustix::fs::fstatvfs;

use super::{TreeError, failed};

/// What is left to others of the disk's space, in bytes.
pub(super) const FREE_BYTES_MIN: u64 = 64 << 20;
/// What is left to others of the inodes of a disk that has a number of them.
pub(super) const FREE_INODES_MIN: u64 = 10_000;
/// Between two looks at them, in bytes written and in names made: less than what is left by all that is unpacked at
/// a time.
const LOOK_EVERY_BYTES: u64 = 16 << 20;
const LOOK_EVERY_NAMES: u64 = 4_096;

#[derive(Debug)]
pub(super) struct Space {
    /// Names made, and how many may be.
    made: u64,
    made_max: u64,
    bytes_unlooked: u64,
    names_unlooked: u64,
}

impl Space {
    pub(super) fn new(made_max: u64) -> Self {
        // A first look is due at once.
        Self { made: 0, made_max, bytes_unlooked: LOOK_EVERY_BYTES, names_unlooked: 0 }
    }

    /// For a name that is made.
    pub(super) fn take_one(&mut self, root: &OwnedFd) -> Result<(), TreeError> {
        if self.made >= self.made_max {
            return Err(TreeError::Made(self.made_max));
        }
        self.made += 1;
        self.names_unlooked += 1;
        self.look(root)
    }

    pub(super) fn take_bytes(&mut self, root: &OwnedFd, bytes: u64) -> Result<(), TreeError> {
        self.bytes_unlooked += bytes;
        self.look(root)
    }

    /// Now and then the disk is looked at.
    fn look(&mut self, root: &OwnedFd) -> Result<(), TreeError> {
        if self.bytes_unlooked < LOOK_EVERY_BYTES && self.names_unlooked < LOOK_EVERY_NAMES {
            return Ok(());
        }
        (self.bytes_unlooked, self.names_unlooked) = (0, 0);
        let space = fstatvfs(root).map_err(failed("looking at the space that is left"))?;
        let free = space.f_bavail.saturating_mul(space.f_frsize);
        if free < FREE_BYTES_MIN {
            return Err(TreeError::NoSpace { free });
        }
        // Some file systems make inodes as they need them, and tell of none.
        if space.f_files > 0 && space.f_favail < FREE_INODES_MIN {
            return Err(TreeError::NoInodes { free: space.f_favail });
        }
        Ok(())
    }
}

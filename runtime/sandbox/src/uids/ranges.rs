//! The host's ids of processes of images: a range for each replica, taken while it lives.
//!
//! Nothing that a replica writes outlives it, so a range is of no one after it, and no record is kept. That two
//! daemons of a machine never take the same is for the kernel: a range is a lock on so many bytes of one file,
//! each of which stands for the id of its number.

use std::{cell::RefCell, collections::BTreeSet, fs::File, os::fd::AsRawFd, path::Path, rc::Rc};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, fcntl},
    libc,
};

use super::{ImageIds, UidError, UidRange, ids_of_machine, locks};
use crate::messages::ImageIdsMode;

/// One place for all daemons of the machine, which is root's alone: whoever may open it can hold every range.
const LOCKS: &str = "/run/dormouse-image-ids/locks";
/// No id from here on is taken: systemd has its foreign ids here, and from 2^31 on ids are negative to some programs.
const END: u32 = 2_147_352_576;

/// Where the ids of a replica come from.
#[derive(Debug)]
pub(crate) enum ImageRanges {
    Distinct(Ranges),
    /// Layers cannot be shown with other ids than those of their files.
    Shared {
        ids: ImageIds,
        reason: String,
    },
}

impl ImageRanges {
    /// # Errors
    /// Where every range is taken, or the lock cannot be asked for.
    pub(crate) fn take(&mut self) -> Result<RangeLease, UidError> {
        match self {
            Self::Distinct(ranges) => ranges.take(),
            Self::Shared { ids, .. } => Ok(RangeLease { base: ids.base(), taken: None }),
        }
    }

    pub(crate) fn mode(&self) -> ImageIdsMode {
        match self {
            Self::Distinct(_) => ImageIdsMode::Distinct,
            Self::Shared { reason, .. } => ImageIdsMode::Shared { reason: reason.clone() },
        }
    }
}

/// Ranges above that of images' files.
#[derive(Debug)]
pub(crate) struct Ranges {
    first: u32,
    count: u32,
    /// The range that is looked at first, so that one is used again as late as possible.
    next: u32,
    /// Users and subordinate ids of this machine, and uids of workers.
    others: Vec<UidRange>,
    taken: Rc<Taken>,
}

#[derive(Debug)]
struct Taken {
    locks: File,
    /// Bases of this daemon's own, which the kernel would give it once more.
    bases: RefCell<BTreeSet<u32>>,
}

/// A range that nobody else on this machine takes while this value lives.
#[derive(Debug)]
pub(crate) struct RangeLease {
    base: u32,
    taken: Option<Rc<Taken>>,
}

impl Ranges {
    /// # Errors
    /// Where there is no room above the ids of images' files, or no place for locks.
    pub(crate) fn open(ids: ImageIds, workers: UidRange) -> Result<Self, UidError> {
        Self::open_in(Path::new(LOCKS), ids, workers)
    }

    fn open_in(path: &Path, ids: ImageIds, workers: UidRange) -> Result<Self, UidError> {
        let failed = |operation| move |source| UidError::Io { operation, path: path.to_owned(), source };
        let first = ids.base() + ImageIds::COUNT;
        let count = END.saturating_sub(first) / ImageIds::COUNT;
        if count == 0 {
            return Err(UidError::NoRanges { first, end: END });
        }
        if let Some(parent) = path.parent() {
            locks::make_directory(parent).map_err(failed("making the directory of id locks for"))?;
        }
        let locks = locks::open(path).map_err(failed("opening the lock"))?;
        let mut others = ids_of_machine();
        others.push(workers);
        let taken = Rc::new(Taken { locks, bases: RefCell::default() });
        // Daemons that start together do not look at the same ranges one after the other.
        let next = std::process::id() % count;
        Ok(Self { first, count, next, others, taken })
    }

    fn take(&mut self) -> Result<RangeLease, UidError> {
        for offset in 0..self.count {
            let index = (self.next + offset) % self.count;
            let base = self.first + index * ImageIds::COUNT;
            let is_anothers = self.others.iter().any(|other| other.overlaps((base, ImageIds::COUNT)));
            if is_anothers || !self.taken.take(base)? {
                continue;
            }
            self.next = (index + 1) % self.count;
            return Ok(RangeLease { base, taken: Some(Rc::clone(&self.taken)) });
        }
        Err(UidError::RangesExhausted(self.count))
    }
}

impl Taken {
    /// Whether it was free.
    fn take(&self, base: u32) -> Result<bool, UidError> {
        if self.bases.borrow().contains(&base) {
            return Ok(false);
        }
        match self.lock(libc::F_WRLCK, base) {
            Ok(()) => Ok(self.bases.borrow_mut().insert(base)),
            Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
            Err(error) => {
                Err(UidError::Io { operation: "asking for a lock of", path: LOCKS.into(), source: error.into() })
            }
        }
    }

    fn lock(&self, kind: libc::c_int, base: u32) -> Result<(), Errno> {
        let lock = libc::flock {
            l_type: libc::c_short::try_from(kind).unwrap_or_default(),
            l_whence: 0,
            l_start: base.into(),
            l_len: ImageIds::COUNT.into(),
            l_pid: 0,
        };
        fcntl(&self.locks, FcntlArg::F_OFD_SETLK(&lock)).map(drop)
    }
}

impl RangeLease {
    /// The host's id of the container's root.
    pub(crate) fn base(&self) -> u32 {
        self.base
    }
}

impl Drop for RangeLease {
    fn drop(&mut self) {
        let Some(taken) = &self.taken else { return };
        taken.bases.borrow_mut().remove(&self.base);
        if let Err(error) = taken.lock(libc::F_UNLCK, self.base) {
            tracing::warn!(file = taken.locks.as_raw_fd(), "a range of ids stays taken until the daemon ends: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const WORKERS: UidRange = UidRange { base: 1_879_048_192, count: 65_536 };

    fn open(path: &Path, base: u32) -> Ranges {
        Ranges::open_in(path, ImageIds { base }, WORKERS).unwrap()
    }

    #[test]
    fn no_two_replicas_of_a_machine_share_a_range() {
        let _lock_ends_when_dropped = dormouse_faults::no_child_starts();
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("locks");
        // Room for three; one of the daemons counts from elsewhere.
        let base = END - 4 * ImageIds::COUNT;
        let (mut one, mut other) = (open(&path, base), open(&path, base + 1_000));
        assert_eq!((one.count, other.count), (3, 2));
        let held = [one.take().unwrap(), one.take().unwrap()];
        assert_ne!(held[0].base(), held[1].base());
        assert!(held.iter().all(|lease| lease.base() >= base + ImageIds::COUNT && lease.base() < END));
        let third = one.take().unwrap();
        assert!(matches!(one.take(), Err(UidError::RangesExhausted(3))));
        assert!(matches!(other.take(), Err(UidError::RangesExhausted(2))), "each of its overlaps one of the other's");
        let free = third.base();
        drop(third);
        assert_eq!(one.take().unwrap().base(), free);
        drop(held);
        assert!(other.take().is_ok());
    }

    #[test]
    fn ids_of_others_are_passed_over_and_no_room_is_said() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("locks");
        let mut ranges = open(&path, END - 3 * ImageIds::COUNT);
        ranges.others.push(UidRange { base: END - ImageIds::COUNT - 1, count: 1 });
        let lease = ranges.take().unwrap();
        assert_eq!(lease.base(), END - ImageIds::COUNT);
        assert!(ranges.take().is_err());
        let none = Ranges::open_in(&path, ImageIds { base: END - ImageIds::COUNT }, WORKERS);
        assert!(matches!(none, Err(UidError::NoRanges { .. })));
    }
}

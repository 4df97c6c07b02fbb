use std::{
    fs::File,
    path::{Path, PathBuf},
};

use nix::fcntl::{Flock, FlockArg};

use super::{UidError, UidRange, locks};

/// How many uids one daemon takes of the configured range: a range of the default size serves
/// sixteen daemons on one machine, each with thousands of endpoints.
const BLOCK_UIDS: u32 = 4_096;
/// One place for all daemons of the machine, wherever their own directories are.
const LOCKS: &str = "/run/dormouse-uids";

/// A part of the configured range that no other daemon of this machine uses while this value lives.
#[derive(Debug)]
pub(crate) struct UidBlock {
    pub(crate) range: UidRange,
    _lock: Flock<File>,
}

impl UidBlock {
    /// Takes a block of `range`. Each instance looks first at the one its id points to, so that it
    /// mostly finds its own again.
    ///
    /// # Errors
    /// [`UidError::NoBlock`] where other daemons hold all of them.
    pub(crate) fn claim(range: UidRange, instance: &str) -> Result<Self, UidError> {
        Self::claim_in(Path::new(LOCKS), range, instance)
    }

    fn claim_in(directory: &Path, range: UidRange, instance: &str) -> Result<Self, UidError> {
        let io = |operation, path: &Path| {
            let path = path.to_owned();
            move |source| UidError::Io { operation, path, source }
        };
        locks::make_directory(directory).map_err(io("making the directory of uid locks", directory))?;
        let blocks = range.count.div_euclid(BLOCK_UIDS).max(1);
        let size = if blocks == 1 { range.count } else { BLOCK_UIDS };
        let preferred = u64::from_str_radix(instance, 16).unwrap_or(0) % u64::from(blocks);
        for offset in 0..blocks {
            let index = (u32::try_from(preferred).unwrap_or(0) + offset) % blocks;
            let block = UidRange { base: range.base + index * size, count: size };
            let path: PathBuf = directory.join(block.base.to_string());
            let file = locks::open(&path).map_err(io("opening the lock", &path))?;
            if let Ok(lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                return Ok(Self { range: block, _lock: lock });
            }
        }
        Err(UidError::NoBlock { blocks })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn daemons_side_by_side_get_blocks_that_do_not_overlap() {
        let _lock_ends_when_dropped = dormouse_faults::no_child_starts();
        let locks = tempfile::tempdir().unwrap();
        let range = UidRange { base: 1_879_048_192, count: 3 * BLOCK_UIDS };
        let claim = |instance| UidBlock::claim_in(locks.path(), range, instance);
        let blocks = [claim("00000000000a").unwrap(), claim("00000000000a").unwrap(), claim("00000000000b").unwrap()];
        for (index, block) in blocks.iter().enumerate() {
            for other in blocks.iter().skip(index + 1) {
                assert!(!block.range.overlaps((other.range.base, other.range.count)));
            }
        }
        assert!(matches!(claim("00000000000c"), Err(UidError::NoBlock { blocks: 3 })));
        let [first, ..] = blocks;
        let freed = first.range;
        drop(first);
        assert_eq!(claim("00000000000a").unwrap().range, freed, "a restarted daemon finds its own again");
    }

    #[test]
    fn a_small_range_is_one_block() {
        let locks = tempfile::tempdir().unwrap();
        let range = UidRange { base: 1_879_048_192, count: 10 };
        assert_eq!(UidBlock::claim_in(locks.path(), range, "00").unwrap().range, range);
    }
}

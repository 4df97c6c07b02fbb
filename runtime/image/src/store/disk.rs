use std::os::fd::AsFd;

use dormouse_spec::Bytes;
use rustix::io::retry_on_intr;

/// How full a disk is, as `df` counts it: what only root may use is no part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskUse {
    /// What is in use and what can be.
    pub capacity: Bytes,
    pub available: Bytes,
}

impl DiskUse {
    pub(super) fn of(directory: impl AsFd) -> rustix::io::Result<Self> {
        let disk = retry_on_intr(|| rustix::fs::fstatvfs(&directory))?;
        let bytes = |blocks: u64| Bytes::new(blocks.saturating_mul(disk.f_frsize));
        let used = disk.f_blocks.saturating_sub(disk.f_bfree);
        Ok(Self { capacity: bytes(used.saturating_add(disk.f_bavail)), available: bytes(disk.f_bavail) })
    }

    #[must_use]
    pub fn used(&self) -> Bytes {
        self.capacity.saturating_sub(self.available)
    }
}

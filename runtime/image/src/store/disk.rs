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

    /// In use, rounded up as `df` does it.
    #[must_use]
    pub fn used_percent(&self) -> u64 {
        let percent = (u128::from(self.used().get()) * 100).div_ceil(u128::from(self.capacity.get()).max(1));
        u64::try_from(percent).unwrap_or(u64::MAX)
    }

    #[must_use]
    pub fn used(&self) -> Bytes {
        self.capacity.saturating_sub(self.available)
    }
}

//! Live limits through cgroups-rs, which knows each version's files and formats.

use std::path::{Path, PathBuf};

use cgroups_rs::{MaxValue, cpu::CpuController, memory::MemController, pid::PidController};
use dormouse_spec::{Bytes, Limits, MilliCpu};

use super::{CgroupError, Version};

const PERIOD_US: u64 = 100_000;
/// The kernel refuses a smaller quota: 10 thousandths of a processor are the least.
const QUOTA_US_MIN: u64 = 1_000;

/// The controllers of one group, each made on its very directory. Finding the hierarchies is left
/// to this crate: cgroups-rs would do it again on each call, and panics where none is mounted.
#[derive(Debug)]
pub(super) struct Controllers {
    group: PathBuf,
    pub(super) cpu: CpuController,
    pub(super) memory: MemController,
    pub(super) pids: PidController,
}

impl Controllers {
    pub(super) fn new(version: Version, group: &Path, cpu: PathBuf, memory: PathBuf, pids: PathBuf) -> Self {
        let is_v2 = version == Version::V2;
        Self {
            group: group.to_owned(),
            cpu: CpuController::new(cpu, is_v2),
            memory: MemController::new(memory, is_v2),
            pids: PidController::new(pids, is_v2),
        }
    }

    pub(super) fn set_cpu(&self, cpu: MilliCpu) -> Result<(), CgroupError> {
        let changed = self.cpu.set_cfs_quota_and_period(Some(quota_us(cpu)), Some(PERIOD_US));
        changed.map_err(|source| self.refused(source))
    }

    pub(super) fn set_memory(&self, memory: Bytes) -> Result<(), CgroupError> {
        self.memory.set_limit(clamped(memory.get())).map_err(|source| self.refused(source))
    }

    /// On v1 a limit of memory and swap together, on v2 of swap alone.
    pub(super) fn set_swap(&self, swap: Bytes) -> Result<(), CgroupError> {
        self.memory.set_memswap_limit(clamped(swap.get())).map_err(|source| self.refused(source))
    }

    /// How readily anonymous memory goes to swap; 0 is never. Of v1 only.
    pub(super) fn set_swappiness(&self, swappiness: u64) -> Result<(), CgroupError> {
        self.memory.set_swappiness(swappiness).map_err(|source| self.refused(source))
    }

    pub(super) fn set_pids(&self, limits: &Limits) -> Result<(), CgroupError> {
        let pids = MaxValue::Value(limits.pids.into());
        self.pids.set_pid_max(pids).map_err(|source| self.refused(source))
    }

    pub(super) fn processes_and_threads(&self) -> Result<u64, CgroupError> {
        self.pids.get_pid_current().map_err(|source| self.refused(source))
    }

    fn refused(&self, source: cgroups_rs::error::Error) -> CgroupError {
        CgroupError::Limits { group: self.group.clone(), source }
    }
}

fn quota_us(cpu: MilliCpu) -> i64 {
    clamped((u64::from(cpu.milli()) * PERIOD_US / 1000).max(QUOTA_US_MIN))
}

/// cgroups-rs takes signed numbers; a negative one would lift the limit.
fn clamped(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_a_share_of_the_period_and_one_the_kernel_takes() {
        for (milli, quota) in [(1, 1_000), (10, 1_000), (500, 50_000), (1000, 100_000), (2500, 250_000)] {
            assert_eq!(quota_us(MilliCpu::from_milli(milli)), quota, "{milli}m");
        }
    }

    #[test]
    fn no_limit_turns_into_unlimited() {
        assert_eq!(clamped(u64::MAX), i64::MAX);
    }
}

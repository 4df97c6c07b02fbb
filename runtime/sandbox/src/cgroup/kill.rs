//! Killing a group by its list of processes, where the kernel cannot kill it as a whole.

use std::{collections::BTreeMap, os::fd::OwnedFd};

use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

use super::CgroupError;

/// A process with SIGKILL pending cannot fork, so each pass finds only the children of those that
/// an earlier pass had not seen. The pids limit bounds those.
const PASSES_MAX: u32 = 256;

/// Sends SIGKILL to every process that `list` names, until it names no new one.
///
/// A pid may be given to another process after it was listed. So a process is signalled through a
/// pidfd, and only when it is listed again after the pidfd was opened.
pub(super) fn every_process(list: impl Fn() -> Result<Vec<i32>, CgroupError>) -> Result<(), CgroupError> {
    let mut opened = BTreeMap::<i32, OwnedFd>::new();
    let mut killed = BTreeMap::<i32, OwnedFd>::new();
    for _ in 0..PASSES_MAX {
        let mut is_done = true;
        for pid in list()? {
            if killed.contains_key(&pid) {
                continue;
            }
            is_done = false;
            if let Some(process) = opened.remove(&pid) {
                send_kill(pid, &process)?;
                killed.insert(pid, process);
            } else if let Some(process) = open(pid)? {
                opened.insert(pid, process);
            }
        }
        if is_done {
            return Ok(());
        }
    }
    Err(CgroupError::StillForking { passes: PASSES_MAX })
}

/// None where the process has ended meanwhile.
fn open(pid: i32) -> Result<Option<OwnedFd>, CgroupError> {
    let Some(process) = Pid::from_raw(pid) else { return Ok(None) };
    match pidfd_open(process, PidfdFlags::empty()) {
        Ok(process) => Ok(Some(process)),
        // A leader that ended before its threads is still listed, and cannot be opened any more.
        Err(Errno::SRCH | Errno::INVAL) => Ok(None),
        Err(error) => Err(CgroupError::Kill { pid, source: error.into() }),
    }
}

fn send_kill(pid: i32, process: &OwnedFd) -> Result<(), CgroupError> {
    match pidfd_send_signal(process, Signal::KILL) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(error) => Err(CgroupError::Kill { pid, source: error.into() }),
    }
}

//! Killing a group by its list of processes, where the kernel cannot kill it as a whole.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::OwnedFd,
};

use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

use super::CgroupError;

/// A process with SIGKILL pending cannot fork, so each pass finds only those that were left to it, and the children of
/// those that an earlier pass had not seen. The pids limit bounds those.
const PASSES_MAX: u32 = 1_024;
/// Processes that are open at a time, each by a descriptor. Others wait for the next pass.
const OPEN_MAX: usize = 64;

/// Sends SIGKILL to every process that `list` names, until it names no new one.
///
/// A pid may be given to another process after it was listed. So a process is signalled through a
/// pidfd, and only when it is listed again after the pidfd was opened.
pub(super) fn every_process(list: impl Fn() -> Result<Vec<i32>, CgroupError>) -> Result<(), CgroupError> {
    let mut opened = BTreeMap::<i32, OwnedFd>::new();
    let mut killed = BTreeSet::new();
    for _ in 0..PASSES_MAX {
        let mut is_done = true;
        let mut next = BTreeMap::new();
        for pid in list()?.into_iter().filter(|pid| !killed.contains(pid)).collect::<Vec<_>>() {
            is_done = false;
            if let Some(process) = opened.remove(&pid) {
                send_kill(pid, &process)?;
                killed.insert(pid);
            } else if opened.len() + next.len() < OPEN_MAX {
                match open(pid) {
                    Ok(process) => next.extend(process.map(|process| (pid, process))),
                    // What is open is killed in the next pass, and its descriptor free.
                    Err(CgroupError::Kill { source, .. }) if is_shortage(&source) && !next.is_empty() => {}
                    Err(error) => return Err(error),
                }
            }
        }
        if is_done {
            return Ok(());
        }
        opened = next;
    }
    Err(CgroupError::StillForking { passes: PASSES_MAX })
}

fn is_shortage(error: &std::io::Error) -> bool {
    let errno = error.raw_os_error();
    [Errno::MFILE, Errno::NFILE].iter().any(|short| errno == Some(short.raw_os_error()))
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::{cell::RefCell, os::unix::process::ExitStatusExt, process::Command};

    use super::*;

    #[test]
    fn more_processes_than_are_open_at_a_time_are_killed() {
        let begun = (0..OPEN_MAX + 6).map(|_| Command::new("sleep").arg("1000").spawn().unwrap());
        let processes = RefCell::new(begun.collect::<Vec<_>>());
        let most_open = RefCell::new(0);
        let before = open_pidfds();
        every_process(|| {
            let mut most_open = most_open.borrow_mut();
            *most_open = (*most_open).max(open_pidfds().saturating_sub(before));
            let mut processes = processes.borrow_mut();
            let living = processes.iter_mut().filter_map(|process| match process.try_wait().unwrap() {
                None => Some(process.id().cast_signed()),
                Some(_) => None,
            });
            Ok(living.collect())
        })
        .unwrap();
        assert!((1..=OPEN_MAX).contains(&most_open.into_inner()));
        for process in processes.borrow_mut().iter_mut() {
            assert_eq!(process.wait().unwrap().signal(), Some(Signal::KILL.as_raw()));
        }
    }

    /// Of this process; other tests of this crate open none.
    fn open_pidfds() -> usize {
        let links = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        links
            .filter(|entry| std::fs::read_link(entry.path()).is_ok_and(|it| it.to_string_lossy().contains("pidfd")))
            .count()
    }
}

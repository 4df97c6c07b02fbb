//! Processes to put into groups. This program has one thread, so they are forked.

use std::{
    fs,
    io::{Read, Write, pipe},
    panic::{self, AssertUnwindSafe},
};

use nix::{
    libc,
    sys::{
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{ForkResult, Pid, fork, pause},
};

use crate::fixture::until_some;

/// What a child answers that panicked.
const PANICKED: i32 = 99;

/// A child that is killed when it goes out of scope. It is reaped by [`Child::wait`] only: a frozen one
/// does not end before its group is killed, and waiting for it then would be for ever.
pub(crate) struct Child {
    pub(crate) pid: Pid,
    is_reaped: bool,
}

impl Child {
    /// Runs `body` in a child, whose exit status is its answer.
    pub(crate) fn run(body: impl FnOnce() -> i32) -> Self {
        Self { pid: fork_and_run(body), is_reaped: false }
    }

    /// A child that has carried out `preparation` and waits for ever.
    pub(crate) fn waiting(preparation: impl FnOnce()) -> Self {
        let (mut reading, mut writing) = pipe().unwrap();
        let child = Self::run(|| {
            preparation();
            writing.write_all(b".").unwrap();
            loop {
                pause();
            }
        });
        drop(writing);
        reading.read_exact(&mut [0]).expect("the child should be prepared");
        child
    }

    pub(crate) fn wait(mut self) -> WaitStatus {
        self.is_reaped = true;
        until_some("the child ends", || {
            let status = waitpid(self.pid, Some(WaitPidFlag::WNOHANG)).unwrap();
            (status != WaitStatus::StillAlive).then_some(status)
        })
    }

    /// Waits for the answer of `body`.
    pub(crate) fn answer(self) -> i32 {
        match self.wait() {
            WaitStatus::Exited(_, code) => code,
            other => panic!("{other:?}"),
        }
    }

    /// Whether it has not ended; reaps it where it has.
    pub(crate) fn is_alive(&self) -> bool {
        waitpid(self.pid, Some(WaitPidFlag::WNOHANG)) == Ok(WaitStatus::StillAlive)
    }

    pub(crate) fn send_kill(&self) {
        kill(self.pid, Signal::SIGKILL).unwrap();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.is_reaped {
            let _ = kill(self.pid, Signal::SIGKILL);
        }
    }
}

/// Forks as often as the kernel allows, up to `count` times; tells how often that was. The
/// children wait for ever.
pub(crate) fn fork_often(count: i32) -> i32 {
    (0..count).find(|_| try_fork(wait_for_ever).is_none()).unwrap_or(count)
}

/// Keeps a group full of new processes: each child forks on in its parent's place, which ends.
pub(crate) fn fork_for_ever() -> i32 {
    loop {
        let _ = try_fork(fork_for_ever);
        let _ = waitpid(None, Some(WaitPidFlag::WNOHANG));
    }
}

fn wait_for_ever() -> i32 {
    loop {
        pause();
    }
}

fn fork_and_run(body: impl FnOnce() -> i32) -> Pid {
    assert_eq!(fs::read_dir("/proc/self/task").unwrap().count(), 1, "a threaded process must not fork");
    try_fork(body).expect("fork should work")
}

/// None where the kernel refuses another process.
fn try_fork(body: impl FnOnce() -> i32) -> Option<Pid> {
    // SAFETY: this program has one thread, so the child finds no lock held by another.
    match unsafe { fork() } {
        Ok(ForkResult::Parent { child }) => Some(child),
        Ok(ForkResult::Child) => {
            let code = panic::catch_unwind(AssertUnwindSafe(body)).unwrap_or(PANICKED);
            // SAFETY: ends this process at once; guards of the parent's must not run twice.
            unsafe { libc::_exit(code) }
        }
        Err(_) => None,
    }
}

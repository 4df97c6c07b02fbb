//! Forking: what every child of the spawner does first.

use std::{io, os::fd::RawFd};

use nix::{
    sys::signal::{SigSet, SigmaskHow, sigprocmask},
    unistd::{ForkResult, Pid, fork, setsid},
};

use crate::defence::Defence;

/// Forks a child that keeps only standard streams and `keep`, gets every signal again, runs `body`
/// and ends with the status it returns. It is in a session of its own: what a terminal sends to whom it
/// started, as with Ctrl-C, is the spawner's to act on.
///
/// # Errors
/// Where the kernel makes no process, as at a limit of processes.
pub(crate) fn fork_child(keep: &[RawFd], body: impl FnOnce() -> i32) -> io::Result<Pid> {
    fork_at_terminal(keep, || match setsid() {
        Ok(_) => body(),
        Err(_) => 127,
    })
}

/// The same for what stays with the terminal.
///
/// # Errors
/// As above.
pub(crate) fn fork_at_terminal(keep: &[RawFd], body: impl FnOnce() -> i32) -> io::Result<Pid> {
    // SAFETY: the spawner has one thread (design invariant, checked at its start), so the child may
    // allocate and call anything. It leaves by `_exit` below and never returns into the caller.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let status = match prepare(keep) {
                Ok(()) => body(),
                Err(_) => 127,
            };
            // SAFETY: `_exit` has no preconditions. Destructors and exit handlers must not run: what
            // they would clean up is the spawner's.
            unsafe { nix::libc::_exit(status) }
        }
    }
}

fn prepare(keep: &[RawFd]) -> io::Result<()> {
    #[cfg(weakened)]
    crate::defence::weakened::keep_descriptors()?;
    if Defence::ClosedDescriptors.stands() {
        close_all_but(keep)?;
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    Ok(())
}

/// Closes every descriptor above the standard streams that is not in `keep`: a channel or another
/// replica's control socket that lived on in a child would hide its end.
pub(crate) fn close_all_but(keep: &[RawFd]) -> io::Result<()> {
    let mut kept: Vec<RawFd> = keep.iter().copied().filter(|fd| *fd > 2).collect();
    kept.sort_unstable();
    let mut first = 3;
    for fd in kept {
        if first < fd {
            close_range(first, fd - 1)?;
        }
        first = fd + 1;
    }
    close_range(first, RawFd::MAX)
}

fn close_range(first: RawFd, last: RawFd) -> io::Result<()> {
    let unsigned = |fd: RawFd| nix::libc::c_uint::try_from(fd).unwrap_or(nix::libc::c_uint::MAX);
    // SAFETY: no memory is passed. The values that own these descriptors belong to the spawner's
    // half of the fork; this child never uses or drops them, since it leaves by `_exit` or exec.
    let result = unsafe { nix::libc::close_range(unsigned(first), unsigned(last), 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

//! One of the two modules of the worker with `unsafe`: a process becomes two.
#![allow(unsafe_code)]

use std::io::{self, Write};

use nix::unistd::ForkResult;
use rustix::process::Pid;

/// One entry for each thread of this process.
const THREADS: &str = "/proc/self/task";

/// Who this process is after a fork.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Template,
    Server,
}

/// Why there was no fork.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ForkError {
    #[error("the threads of the process cannot be counted in {THREADS}")]
    Count(#[source] io::Error),
    #[error("the process has {0} threads, and may be forked with one")]
    Threads(usize),
    #[error("the kernel forks no process")]
    Fork(#[source] nix::Error),
}

/// Makes a second process. On the template's side it also tells the server's id.
///
/// The server goes on with everything that the template has: descriptors, of which it gives up what is not its own;
/// memory, copied where either writes; the seeds of hash tables, so that one server that tells how it hashes tells it
/// of all. I/O runtimes and threads it makes itself.
pub(super) fn fork() -> Result<(Side, Option<Pid>), ForkError> {
    check()?;
    // What is buffered would be printed by both.
    let _ = io::stdout().flush();
    // SAFETY: this process has one thread, which was checked above and nobody else could change since. So no lock is
    // held by a thread that the server lacks, the heap's included, and the server may do whatever the template may.
    match unsafe { nix::unistd::fork() }.map_err(ForkError::Fork)? {
        ForkResult::Child => Ok((Side::Server, None)),
        ForkResult::Parent { child } => Ok((Side::Template, Pid::from_raw(child.as_raw()))),
    }
}

/// Ends a server. Nothing is taken down: that would write to memory that it shares with its template, a copy for each
/// page, and what the C++ side made was made by the template.
pub(super) fn leave() -> ! {
    let _ = io::stdout().flush();
    // SAFETY: the process ends here, and nothing of it runs any more that could miss what is not taken down.
    unsafe { nix::libc::_exit(0) }
}

/// Whether this process has one thread.
pub(super) fn check() -> Result<(), ForkError> {
    match std::fs::read_dir(THREADS).map_err(ForkError::Count)?.count() {
        1 => Ok(()),
        threads => Err(ForkError::Threads(threads)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::thread;

    use super::*;

    #[test]
    fn a_process_with_a_second_thread_is_not_forked() {
        let second = thread::spawn(thread::park);
        let refused = fork();
        assert!(matches!(refused, Err(ForkError::Threads(2..))), "{refused:?}");
        second.thread().unpark();
        second.join().unwrap();
    }
}

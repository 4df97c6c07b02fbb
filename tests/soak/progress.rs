//! One line that says how far a phase is, while it goes on.

use std::{
    io::{IsTerminal, Write, stderr},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// A terminal is told often, a file seldom.
const TELL_EVERY: Duration = Duration::from_millis(500);
const TELL_FILE_EVERY: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct Progress {
    what: String,
    of: u64,
    done: AtomicU64,
    begun: Instant,
    told: Mutex<Instant>,
}

impl Progress {
    pub(crate) fn begin(what: String, of: u64) -> Self {
        Self { what, of, done: AtomicU64::new(0), begun: Instant::now(), told: Mutex::new(Instant::now()) }
    }

    pub(crate) fn step(&self) {
        let done = self.done.fetch_add(1, Ordering::SeqCst) + 1;
        let every = if stderr().is_terminal() { TELL_EVERY } else { TELL_FILE_EVERY };
        let mut told = self.told.lock().unwrap();
        if done < self.of && told.elapsed() > every {
            *told = Instant::now();
            let end = if stderr().is_terminal() { "\r" } else { "\n" };
            eprint!("{}: {done} of {}{end}", self.what, self.of);
            let _ = stderr().flush();
        }
    }

    pub(crate) fn end(&self) {
        eprintln!("{}: {} in {:.1?}", self.what, self.done.load(Ordering::SeqCst), self.begun.elapsed());
    }
}

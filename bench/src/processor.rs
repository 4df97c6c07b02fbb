//! Where the kernel may run what is measured.

use rustix::{
    process::Pid,
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};

use crate::{Failure, process};

/// This program and all that it started, on one processor until this is dropped: then nobody's time has the waking of
/// another processor in it, which takes as long as this machine and chance will have it.
#[derive(Debug)]
pub(crate) struct OneProcessor {
    /// Where each thread might run before, and where those may that were begun since.
    before: Vec<(Pid, CpuSet)>,
    ours: CpuSet,
}

impl OneProcessor {
    pub(crate) fn for_all() -> Result<Self, Failure> {
        let ours = sched_getaffinity(None)?;
        let first = (0..CpuSet::MAX_CPU).find(|processor| ours.is_set(*processor)).ok_or("there is no processor")?;
        let mut one = CpuSet::new();
        one.set(first);
        let mut pinned = Self { before: Vec::new(), ours };
        for thread in all_threads() {
            pinned.pin(thread, &one).map_err(|error| format!("keeping thread {thread:?} on one processor: {error}"))?;
        }
        Ok(pinned)
    }

    fn pin(&mut self, thread: Pid, one: &CpuSet) -> rustix::io::Result<()> {
        let before = match sched_getaffinity(Some(thread)) {
            // It ended meanwhile.
            Err(rustix::io::Errno::SRCH) => return Ok(()),
            before => before?,
        };
        sched_setaffinity(Some(thread), one)?;
        self.before.push((thread, before));
        Ok(())
    }
}

impl Drop for OneProcessor {
    fn drop(&mut self) {
        for thread in all_threads() {
            let before =
                self.before.iter().find(|(known, _)| *known == thread).map_or(&self.ours, |(_, before)| before);
            // Some may have ended by now.
            let _ = sched_setaffinity(Some(thread), before);
        }
    }
}

/// Of this program and of all that it started.
fn all_threads() -> Vec<Pid> {
    let family = process::family(std::process::id().cast_signed());
    family.into_iter().flat_map(process::threads).filter_map(Pid::from_raw).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::process::Command;

    use super::*;

    #[test]
    fn what_was_started_is_kept_on_one_processor_and_let_go() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let thread = Pid::from_child(&child);
        let places = || sched_getaffinity(Some(thread)).unwrap().count();
        let before = places();
        let one = OneProcessor::for_all().unwrap();
        let during = places();
        drop(one);
        let after = places();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!((during, after), (1, before));
    }
}

//! Others who do a part of the same, measured in the same run. `make bench-peers` installs them; one that is missing
//! fails its rows by name.

pub(crate) mod containerd;
mod first_answer;
pub(crate) mod nginx;
pub(crate) mod runc;
pub(crate) mod triton;

use std::{
    path::PathBuf,
    process::{Child, Command},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{Failure, process::family};

/// How long one may take to end. Some wait for open connections, of which there are none by then.
const END_DEADLINE: Duration = Duration::from_secs(10);
const END_LOOK: Duration = Duration::from_millis(5);

/// A program of the machine, or who is missing and what to do.
fn installed(program: &str) -> Result<PathBuf, Failure> {
    let directories = ["/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/bin"];
    let mut places = directories.iter().map(|directory| PathBuf::from(directory).join(program));
    places
        .find(|place| place.is_file())
        .ok_or_else(|| format!("{program} is not installed: run `make bench-peers`").into())
}

/// The first line of what a program says of its version.
fn version(program: &PathBuf) -> String {
    let said = crate::machine::said(Command::new(program).arg("--version")).unwrap_or_default();
    said.lines().next().unwrap_or("of unknown version").to_owned()
}

/// Ends a server and what it started: asked to, and killed where it does not.
fn end(child: &mut Child) {
    let pid = child.id().cast_signed();
    let family = family(pid);
    signal(pid, Signal::TERM);
    let deadline = Instant::now() + END_DEADLINE;
    while matches!(child.try_wait(), Ok(None)) {
        if Instant::now() > deadline {
            family.iter().for_each(|pid| signal(*pid, Signal::KILL));
            let _ = child.wait();
            return;
        }
        std::thread::sleep(END_LOOK);
    }
}

fn signal(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        // One that has ended needs none.
        let _ = kill_process(pid, signal);
    }
}

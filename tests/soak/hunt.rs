//! Finding a process of the daemon in the middle of what it does, and killing that one and no other.

use std::{
    fs,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// How long one is looked for before another kind will do.
const HUNT_MAX: Duration = Duration::from_secs(2);
/// Far longer than the daemon is without any, on a loaded machine too.
const NONE_MAX: Duration = Duration::from_secs(10);
/// Creations and removals last some milliseconds.
const LOOK_EVERY: Duration = Duration::from_micros(200);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prey {
    /// A worker or an image's web server, whatever it does: starting, serving, frozen, ending; or a template that waits.
    Replica,
    /// One that servers were forked of.
    Template,
    /// A server that was forked.
    Server,
    /// The child of the spawner that makes a container, before or after it joined its group.
    Creation,
    /// A half-made container, on its way to become a worker.
    HalfMade,
    /// The child of the spawner that removes what is left of a replica.
    Removal,
}

impl Prey {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Replica => "replica",
            Self::Template => "template",
            Self::Server => "forked server",
            Self::Creation => "creation",
            Self::HalfMade => "half-made container",
            Self::Removal => "removal",
        }
    }
}

/// Kills a process of this kind, or after a while one of another kind; tells which it was. None
/// where the daemon has no such process at all for that long.
pub(crate) fn kill_one(spawner: i32, instance: &str, wanted: Prey) -> Option<Prey> {
    let begun = Instant::now();
    loop {
        let anything = begun.elapsed() > HUNT_MAX;
        for (pid, prey) in seen(spawner, instance) {
            if (anything || prey == wanted) && kill(pid, spawner, instance, prey) {
                return Some(prey);
            }
        }
        if begun.elapsed() > NONE_MAX {
            return None;
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Waits for a moment in which something is being made or removed; gives up after a while.
pub(crate) fn until_busy(spawner: i32, instance: &str) {
    let begun = Instant::now();
    let is_busy = || {
        seen(spawner, instance).iter().any(|(_, prey)| [Prey::Creation, Prey::HalfMade, Prey::Removal].contains(prey))
    };
    while begun.elapsed() < HUNT_MAX && !is_busy() {
        std::thread::sleep(LOOK_EVERY);
    }
}

/// The pid may be another process's by now: it is looked at again once it is held.
fn kill(pid: i32, spawner: i32, instance: &str, prey: Prey) -> bool {
    let Some(held) = hold(pid) else { return false };
    let is_still = seen(spawner, instance).contains(&(pid, prey));
    is_still && pidfd_send_signal(&held, Signal::KILL).is_ok()
}

fn hold(pid: i32) -> Option<OwnedFd> {
    pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()
}

/// Children of the spawner, the node excepted, and their children in containers.
fn seen(spawner: i32, instance: &str) -> Vec<(i32, Prey)> {
    let mut seen = Vec::new();
    for pid in children(spawner) {
        let Some(prey) = of_child(pid, instance) else { continue };
        let below = match prey {
            Prey::Creation => Prey::HalfMade,
            _ => Prey::Server,
        };
        // What a web server begins is its own: who asked it is told no reason where that is killed.
        let made = if program(pid).is_some_and(|program| program == WEB_SERVER) { Vec::new() } else { children(pid) };
        let is_template = prey == Prey::Replica && !made.is_empty();
        seen.push((pid, if is_template { Prey::Template } else { prey }));
        seen.extend(made.into_iter().map(|pid| (pid, below)));
    }
    seen
}

fn children(pid: i32) -> Vec<i32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

fn of_child(pid: i32, instance: &str) -> Option<Prey> {
    if program(pid)? == WEB_SERVER {
        return Some(Prey::Replica);
    }
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    match line.split(|byte| *byte == 0).nth(1)? {
        b"node" => None,
        b"worker" => Some(Prey::Replica),
        // Forked and not executed: it still has the spawner's own line. A removal has nothing open
        // but its standard streams; a creation has its pipes, and later its group.
        b"daemon" => {
            let group = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
            let open = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count();
            let is_maker = group.contains(&format!("dormouse-{instance}/")) || open > STANDARD_STREAMS;
            Some(if is_maker { Prey::Creation } else { Prey::Removal })
        }
        _ => Some(Prey::HalfMade),
    }
}

/// The name of what it executes.
fn program(pid: i32) -> Option<Vec<u8>> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    line.split(|byte| *byte == 0).next().map(<[u8]>::to_vec)
}

const STANDARD_STREAMS: usize = 3;
/// Of an image.
const WEB_SERVER: &[u8] = b"httpd";

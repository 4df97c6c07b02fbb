use std::{thread, time::Duration};

use serde_json::{Value, json};

use crate::{
    Failure,
    daemon::Daemon,
    peers::containerd::Containerd,
    process::{proportional_set, switches, threads},
};

/// Before anything is counted, for what came before to end.
const SETTLE: Duration = Duration::from_secs(3);

/// What processes do while nobody wants anything.
#[derive(Debug)]
pub(super) struct Idle {
    pub(super) version: String,
    pss_bytes: u64,
    switches: u64,
    pub(super) threads: usize,
    pub(super) span: Duration,
}

pub(super) fn of_daemon(daemon: &Daemon, span: Duration) -> Result<Idle, Failure> {
    watch("Dormouse", &daemon.halves()?, span)
}

pub(super) fn of_containerd(span: Duration) -> Result<Idle, Failure> {
    let containerd = Containerd::start()?;
    watch(containerd.version(), &[containerd.pid()], span)
}

fn watch(version: &str, pids: &[i32], span: Duration) -> Result<Idle, Failure> {
    thread::sleep(SETTLE);
    let before = switches(pids);
    thread::sleep(span);
    let switches = switches(pids).saturating_sub(before);
    // Looked at last: reading the maps of a process may wake it.
    let pss_bytes = proportional_set(pids)?;
    let threads = pids.iter().map(|pid| threads(*pid).len()).sum();
    Ok(Idle { version: version.to_owned(), pss_bytes, switches, threads, span })
}

impl Idle {
    pub(super) fn megabytes(&self) -> f64 {
        self.pss_bytes as f64 / 1e6
    }

    pub(super) fn wake_ups_per_second(&self) -> f64 {
        self.switches as f64 / self.span.as_secs_f64()
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "version": self.version, "pss_bytes": self.pss_bytes, "wake_ups": self.switches, "threads": self.threads,
            "span_s": self.span.as_secs_f64(),
        })
    }
}

//! Records the system calls of a daemon's replicas from outside, as the kernel shows them to a tracer.
//!
//! The spawner is traced, and with it every process that it makes from then on; of those, what is
//! under a system call filter. Nothing of the product knows of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::{Child, Command, Stdio},
};

use serde::Deserialize;
use tempfile::TempDir;

use crate::wait::until_true;

/// What a tracer appends to each file's name is a thread's id.
const FILE_PREFIX: &str = "thread";
const FILTER_LOADED: &str = "seccomp(SECCOMP_SET_MODE_FILTER";
/// What a template does, and no other worker.
const MEMORY_SHUT: &str = "prctl(PR_SET_DUMPABLE, SUID_DUMP_DISABLE)";
/// What a server does that a template forked, and no other worker.
const OWN_FILTER_LOADED: &str = "seccomp(SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC,";
/// A thread's id in the tracer's own numbering, behind the one in the container's.
const OUTER_ID: &str = " in strace's PID NS";
/// The worker's word that it serves.
const READY: &str = ", \"R{";
const MISSING: &str = "= -1 ENOSYS";

/// A part of a worker's life under its filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Up to the execution of the worker.
    Creation,
    /// Until the worker is ready.
    Load,
    /// From a template's first order until its server is under its own filter. Not recorded here: see [`Recording`].
    Fork,
    Serve,
}

/// A tracer that runs.
#[derive(Debug)]
pub struct Recorder {
    tracer: Child,
    directory: TempDir,
}

/// What was recorded of all replicas together, but for templates and what they forked: those have lists of their own,
/// and the tests of the worker record them.
#[derive(Debug, Default)]
pub struct Recording {
    pub replicas: usize,
    pub threads: usize,
    /// Calls that the filter let through, and where they were made.
    pub made: BTreeMap<String, BTreeSet<Phase>>,
    /// Calls that were answered with ENOSYS, each with one example.
    pub missing: BTreeMap<String, String>,
}

impl Recorder {
    /// Traces a daemon's spawner, and what it makes from now on.
    ///
    /// # Panics
    /// Where there is no strace.
    #[must_use]
    pub fn attach(spawner: i32) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let tracer = Command::new("strace")
            .args(["-qq", "-ff", "--decode-pids=pidns", "--string-limit=8"])
            .arg("--absolute-timestamps=format:unix,precision:us")
            .arg("--output")
            .arg(directory.path().join(FILE_PREFIX))
            .args(["--attach", &spawner.to_string()])
            .stdin(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("strace: {error}: run `make setup-test`"));
        until_true("the spawner is traced", || {
            let status = fs::read_to_string(format!("/proc/{spawner}/status")).unwrap();
            status.lines().any(|line| line.strip_prefix("TracerPid:").is_some_and(|pid| pid.trim() != "0"))
        });
        Self { tracer, directory }
    }

    /// Reads the recording once the daemon has ended, and with it the tracer.
    #[must_use]
    pub fn finish(mut self) -> Recording {
        until_true("the tracer ends", || self.tracer.try_wait().unwrap().is_some());
        Recording::of(self.directory.path())
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        // Of a test that failed; killed, it lets go of what it traced.
        let _ = self.tracer.kill();
        let _ = self.tracer.wait();
    }
}

/// One thread's file: lines of a time and what happened.
struct Thread(Vec<(f64, String)>);

impl Thread {
    fn read(path: &Path) -> Self {
        let text = String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
        let line = |line: &str| {
            let (time, what) = line.split_once(' ')?;
            Some((time.parse().ok()?, what.to_owned()))
        };
        Self(text.lines().filter_map(line).collect())
    }

    /// From when on it was under a filter that it loaded itself.
    fn filtered_from(&self) -> Option<f64> {
        self.0.iter().find(|(_, what)| what.starts_with(FILTER_LOADED) && what.ends_with("= 0")).map(|(time, _)| *time)
    }

    fn is_of_template(&self) -> bool {
        // libseccomp asks what the kernel can do with calls that fail.
        let is_own_filter = |what: &str| what.starts_with(OWN_FILTER_LOADED) && what.ends_with("= 0");
        self.0.iter().any(|(_, what)| what.starts_with(MEMORY_SHUT) || is_own_filter(what))
    }

    fn time_of(&self, from: f64, is_it: impl Fn(&str) -> bool) -> f64 {
        let found = self.0.iter().find(|(time, what)| *time > from && is_it(what));
        found.map_or(f64::INFINITY, |(time, _)| *time)
    }

    fn children(&self) -> impl Iterator<Item = i32> {
        let clones = self.0.iter().filter(|(_, what)| what.starts_with("clone"));
        clones.filter_map(|(_, what)| what.split(OUTER_ID).next()?.rsplit("/* ").next()?.trim().parse().ok())
    }
}

impl Recording {
    fn of(directory: &Path) -> Self {
        let id = |path: &Path| path.extension()?.to_str()?.parse().ok();
        let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        let threads: BTreeMap<i32, Thread> = files.filter_map(|path| Some((id(&path)?, Thread::read(&path)))).collect();
        let mut recording = Self::default();
        for first in threads.values().filter(|thread| !thread.is_of_template()) {
            if let Some(filtered) = first.filtered_from() {
                recording.replicas += 1;
                recording.add(first, filtered, &threads);
            }
        }
        recording
    }

    fn add(&mut self, first: &Thread, filtered: f64, threads: &BTreeMap<i32, Thread>) {
        let executed = first.time_of(filtered, |what| what.starts_with("execve("));
        let ready = first.time_of(executed, |what| what.starts_with("sendto(") && what.contains(READY));
        let phase_at = |time| match time {
            time if time <= executed => Phase::Creation,
            time if time <= ready => Phase::Load,
            _ => Phase::Serve,
        };
        let mut found = vec![first];
        while let Some(thread) = found.pop() {
            self.threads += 1;
            for (time, what) in thread.0.iter().filter(|(time, _)| *time > filtered) {
                // Signals and ends are no calls.
                let Some((name, _)) = what.split_once('(').filter(|(name, _)| is_name(name)) else { continue };
                if what.contains(MISSING) {
                    self.missing.entry(name.to_owned()).or_insert_with(|| what.clone());
                } else {
                    self.made.entry(name.to_owned()).or_default().insert(phase_at(*time));
                }
            }
            found.extend(thread.children().filter_map(|child| threads.get(&child)));
        }
    }
}

fn is_name(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

//! What /proc and /sys/fs/cgroup tell about a daemon's processes.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::cli;

/// Kills one process by its id.
///
/// # Panics
/// Where it is not there.
pub fn kill(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).expect("a pid"), signal).unwrap_or_else(|error| panic!("kill {pid}: {error}"));
}

/// Whether a process of this id exists and has not ended.
#[must_use]
pub fn lives(pid: i32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    !matches!(stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().next()), Some("Z" | "X") | None)
}

/// When it was started, in clock ticks since boot: with its id, the one thing no later process has.
///
/// # Panics
/// Where it is not there.
#[must_use]
pub fn start_time(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_else(|error| panic!("{pid}: {error}"));
    stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(19)?.parse().ok()).expect("a start time")
}

/// Names of a process's threads.
///
/// # Panics
/// Where it is not there.
#[must_use]
pub fn thread_names(pid: i32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
    let mut names: Vec<String> = names.map(|name| name.trim().to_owned()).collect();
    names.sort();
    names
}

/// The child of `parent` whose second argument is `verb`, as `node` is of a daemon.
#[must_use]
pub fn child(parent: i32, verb: &str) -> Option<i32> {
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    children
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .find(|pid: &i32| second_argument(&command_line(*pid)) == Some(verb.as_bytes()))
}

/// Empty where it is not there, or has given its memory back and ends.
fn command_line(pid: i32) -> Vec<u8> {
    fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()
}

fn second_argument(line: &[u8]) -> Option<&[u8]> {
    line.split(|byte| *byte == 0).nth(1)
}

/// Whether a process runs and is no copy of the spawner, which forks what makes a container, and does not execute it.
/// Such a one ends some time after what it made serves, and is in its group until then. One that runs the commands of probes
/// is there for as long as its container.
fn is_no_copy(pid: i32) -> bool {
    let line = command_line(pid);
    !line.is_empty() && second_argument(&line) != Some(b"daemon".as_slice())
}

/// Every control group of one daemon: its own and its replicas', in every hierarchy.
#[must_use]
pub fn control_groups(instance: &str) -> Vec<PathBuf> {
    let name = format!("dormouse-{instance}");
    let mounted =
        fs::read_dir("/sys/fs/cgroup").map(|entries| entries.filter_map(Result::ok).map(|entry| entry.path()));
    let roots = mounted.into_iter().flatten().chain([PathBuf::from("/sys/fs/cgroup")]);
    let mut found: Vec<PathBuf> = roots.map(|root| root.join(&name)).filter(|group| group.is_dir()).collect();
    let children: Vec<PathBuf> = found.iter().flat_map(|group| directories(group)).collect();
    found.extend(children);
    found
}

/// The processes in a group below a daemon's, copies of its spawner excepted: what makes a container may be there for
/// a while after it was made.
#[must_use]
pub fn of_group(instance: &str, name: &str) -> BTreeSet<i32> {
    with_makers_of_group(instance, name).into_iter().filter(|pid| is_no_copy(*pid)).collect()
}

/// The same with those.
#[must_use]
pub fn with_makers_of_group(instance: &str, name: &str) -> BTreeSet<i32> {
    processes(control_groups(instance).iter().filter(|group| group.ends_with(name)))
}

/// The processes of a daemon that wait for a model, and of replicas that did; not what made their containers.
#[must_use]
pub fn of_blanks(instance: &str) -> BTreeSet<i32> {
    let is_blank = |group: &&PathBuf| {
        group.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("blank-"))
    };
    processes(control_groups(instance).iter().filter(is_blank)).into_iter().filter(|pid| is_no_copy(*pid)).collect()
}

/// Every process in a control group of a daemon.
#[must_use]
pub fn of_instance(instance: &str) -> BTreeSet<i32> {
    processes(control_groups(instance).iter())
}

/// Of groups and of those directly below: on v2 there is one of what runs outside a replica's container.
fn processes<'a>(groups: impl Iterator<Item = &'a PathBuf>) -> BTreeSet<i32> {
    let groups = groups.flat_map(|group| std::iter::once(group.clone()).chain(directories(group)));
    let listed = groups.filter_map(|group| fs::read_to_string(group.join("cgroup.procs")).ok());
    listed.flat_map(|list| list.lines().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect()
}

fn directories(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(path) else { return Vec::new() };
    entries.filter_map(Result::ok).map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

/// The host uid a process runs as.
///
/// # Panics
/// Where it is not there.
#[must_use]
pub fn uid(pid: i32) -> u32 {
    id(pid, "Uid:")
}

fn id(pid: i32, field: &str) -> u32 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("an id");
    line.split_whitespace().next().and_then(|id| id.parse().ok()).expect("an id")
}

/// Until this is dropped, a running process gets no further descriptor: EMFILE.
#[derive(Debug)]
pub struct NoDescriptors {
    pid: i32,
    limit_before: String,
}

impl NoDescriptors {
    /// # Panics
    /// Where the limit cannot be set.
    #[must_use]
    pub fn of(pid: i32) -> Self {
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
        let limit_before = line.split_whitespace().nth(3).unwrap().to_owned();
        // The limit is one on numbers: all lower ones are in use. Not fewer, as a poll of more descriptors
        // than the limit fails.
        let is_open = |number: &u32| fs::symlink_metadata(format!("/proc/{pid}/fd/{number}")).is_ok();
        let first_free = (0..).find(|number| !is_open(number)).expect("a number");
        set_open_files(pid, &first_free.to_string());
        Self { pid, limit_before }
    }
}

impl Drop for NoDescriptors {
    fn drop(&mut self) {
        if lives(self.pid) {
            set_open_files(self.pid, &self.limit_before);
        }
    }
}

/// Sets the soft limit, as the user whose process it is: another's takes a capability that root does
/// not always have.
fn set_open_files(pid: i32, soft: &str) {
    let mut prlimit = Command::new("prlimit");
    prlimit.arg(format!("--pid={pid}")).arg(format!("--nofile={soft}:"));
    let _ = cli::run(prlimit.uid(uid(pid)).gid(id(pid, "Gid:"))).ok();
}

/// The most memory a process has had resident, in bytes.
///
/// # Panics
/// Where it is not there.
#[must_use]
pub fn peak_memory(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.trim().strip_suffix(" kB").and_then(|kibibytes| kibibytes.parse::<u64>().ok()).expect("a number") << 10
}

/// Memory of a daemon and its replicas that no other use can take: their own, and that of their
/// temporary files.
///
/// # Panics
/// Where there is no such daemon.
#[must_use]
pub fn memory_held(instance: &str) -> u64 {
    let own = control_groups(instance);
    let group = own.iter().find(|group| group.join("memory.stat").exists()).expect("a group with memory");
    let statistics = fs::read_to_string(group.join("memory.stat")).unwrap();
    let of = |key: &str| {
        let line = statistics.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
        line.map(|bytes| bytes.parse::<u64>().expect("a number"))
    };
    // v1 counts what is below a group under names of their own.
    let both = |v1: &str, v2: &str| of(v1).or_else(|| of(v2)).unwrap_or_default();
    both("total_rss", "anon") + both("total_shmem", "shmem")
}

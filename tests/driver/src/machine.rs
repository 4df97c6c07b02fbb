//! The machine as seen from outside every container.

use std::{
    collections::BTreeMap,
    fs,
    os::fd::BorrowedFd,
    path::{Path, PathBuf},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use dormouse_sandbox::cgroup::{Hierarchy, Version};
use dormouse_sandbox::messages::{Origin, Premade, ReplicaId};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{WaitOptions, wait},
};

/// Generous: an emulated machine takes its time.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// How long one look at a descriptor waits.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

/// Waits for a condition.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Whether something can be read, now or in a moment.
pub fn is_readable(descriptor: BorrowedFd<'_>) -> bool {
    poll(&mut [PollFd::from_borrowed_fd(descriptor, PollFlags::IN)], Some(&LOOK)).is_ok_and(|ready| ready > 0)
}

/// Whatever loses its parent becomes a child of this process, so that none can be overlooked.
pub fn adopt_orphans() {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
}

/// Waits until this process has no child, direct or adopted.
pub fn assert_no_process_left() {
    until("no process is left", || wait(WaitOptions::NOHANG).is_err_and(|error| error == rustix::io::Errno::CHILD));
}

pub fn is_running(pid: i32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    // The state follows the program's name, which may hold anything.
    !stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'))
}

/// Whether a process waits for a lock.
pub fn waits_for_a_lock(pid: i32) -> bool {
    let sleeps_in = fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap();
    sleeps_in.split(' ').next().is_some_and(|number| number == nix::libc::SYS_futex.to_string())
}

/// One field of a process's status.
pub fn status_of(pid: i32, field: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_else(|| panic!("no {field}")).trim().to_owned()
}

pub fn hierarchy() -> Hierarchy {
    Hierarchy::detect().unwrap()
}

pub fn is_v1() -> bool {
    hierarchy().version() == Version::V1
}

/// The directories of this name at the top of every hierarchy, used or not, named or not.
pub fn groups(name: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = mounts().map(|(point, _)| point.join(name)).filter(|path| path.exists()).collect();
    found.dedup();
    found
}

/// Which group a replica is in where it is not one of its own name: it was a blank.
static CLAIMED: Mutex<BTreeMap<(String, ReplicaId), String>> = Mutex::new(BTreeMap::new());

pub(crate) fn note_origin(group: &str, replica: &ReplicaId, origin: Origin) {
    let key = (group.to_owned(), replica.clone());
    let mut claimed = CLAIMED.lock().unwrap();
    match origin.premade().map(Premade::name) {
        Some(name) => claimed.insert(key, name),
        None => claimed.remove(&key),
    };
}

/// The name of a replica's group below its daemon's.
pub fn group_of(group: &str, replica: &ReplicaId) -> String {
    let claimed = CLAIMED.lock().unwrap();
    claimed.get(&(group.to_owned(), replica.clone())).cloned().unwrap_or_else(|| replica.to_string())
}

/// What one interface file of a replica's group says; `v1` names the controller and the file.
pub fn interface(group: &str, replica: &ReplicaId, v1: (&str, &str), v2: &str) -> String {
    interface_of(group, &group_of(group, replica), v1, v2)
}

/// The same of any group below a daemon's.
pub fn interface_of(group: &str, name: &str, v1: (&str, &str), v2: &str) -> String {
    let path = interface_path(group, name, v1, v2);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).trim().to_owned()
}

fn interface_path(group: &str, name: &str, v1: (&str, &str), v2: &str) -> PathBuf {
    let (root, file) = if is_v1() { (v1_root(v1.0), v1.1) } else { (v2_root(), v2) };
    root.join(group).join(name).join(file)
}

/// Of any group below a daemon's, the file that lists its processes and takes more.
pub fn list_of(group: &str, name: &str) -> PathBuf {
    interface_path(group, name, ("pids", "cgroup.procs"), "cgroup.procs")
}

/// The processes of any group below a daemon's; none where it is not there.
pub fn processes_of(group: &str, name: &str) -> Vec<i32> {
    fs::read_to_string(list_of(group, name)).unwrap_or_default().lines().map(|pid| pid.parse().unwrap()).collect()
}

/// The processes of a replica, as this process numbers them.
pub fn processes(group: &str, replica: &ReplicaId) -> Vec<i32> {
    let text = interface(group, replica, ("pids", "cgroup.procs"), "cgroup.procs");
    text.lines().map(|pid| pid.parse().unwrap()).collect()
}

/// The only process of a replica, once the child that made it has left.
pub fn process(group: &str, replica: &ReplicaId) -> i32 {
    let mut found = Vec::new();
    until("a replica is one process", || {
        found = processes(group, replica);
        found.len() == 1
    });
    found[0]
}

fn v1_root(controller: &str) -> PathBuf {
    mounts()
        .find(|(_, options)| options.iter().any(|option| option == controller))
        .unwrap_or_else(|| panic!("{controller} is not mounted"))
        .0
}

fn v2_root() -> PathBuf {
    mounts().find(|(_, options)| options.is_empty()).expect("cgroup2 is not mounted").0
}

/// Every mount of control groups, with the options of its superblock; none of v2's.
fn mounts() -> impl Iterator<Item = (PathBuf, Vec<String>)> {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let parse = |line: &str| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let fields: Vec<&str> = filesystem.split(' ').collect();
        let options = match *fields.first()? {
            "cgroup" => fields.last()?.split(',').map(str::to_owned).collect(),
            "cgroup2" => Vec::new(),
            _ => return None,
        };
        Some((Path::new(mount.split(' ').nth(4)?).to_owned(), options))
    };
    mountinfo.lines().filter_map(parse).collect::<Vec<_>>().into_iter()
}

//! What the kernel itself tells of a container, read from outside before its payload is released.
//!
//! libcontainer is told what to do in a configuration, and writes into /proc on the way; a step that
//! it left out, or one that something redirected, would show here and nowhere else. The container's
//! first process waits meanwhile: it has its filter, its ids and its root, and has run nothing of
//! the payload's.

use std::{fs, io, path::Path};

use rustix::fs::{Mode, OFlags, PROC_SUPER_MAGIC};

use crate::{defence::Defence, oci::OOM_SCORE_ADJ};

/// What a container is made under.
const CONTAINER_FILTERS: u32 = 1;
/// What a server loads besides is one list in two programs: one that kills, one that allows.
const SERVER_FILTERS: u32 = 2;
/// The kernel's name of having a filter, and of having none.
const FILTERED: &str = "2";
const UNFILTERED: &str = "0";

/// Why a container is not released.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VerificationError {
    #[error("reading `{path}` failed")]
    Read {
        path: String,
        #[source]
        source: io::Error,
    },
    #[error("`{path}` is not the kernel's: it is no procfs")]
    NotProc { path: String },
    #[error("the container is not confined as it was to be: {field} is `{found}`, not `{expected}`")]
    NotInForce { field: &'static str, found: String, expected: String },
}

/// As whom a payload is to run, in ids of the host, and with which rights.
#[derive(Debug)]
pub(crate) struct Expected {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// In order.
    pub(crate) groups: Vec<u32>,
    /// Bounding, permitted and effective: those of its own user namespace. The others are empty.
    pub(crate) capabilities: u64,
}

impl Expected {
    /// A worker has no right at all.
    pub(crate) fn worker(uid: u32) -> Self {
        Self { uid, gid: uid, groups: Vec::new(), capabilities: 0 }
    }
}

/// Checks the first process of a container, `pid`.
pub(crate) fn of_container(pid: i32, expected: &Expected) -> Result<(), VerificationError> {
    if !Defence::RealProc.stands() {
        return Ok(());
    }
    // The one that tells, then the one that the payload will be told by.
    is_procfs("/proc".to_owned())?;
    is_procfs(format!("/proc/{pid}/root/proc"))?;
    of_process(pid, expected, filters_of_container())?;
    let score = read(format!("/proc/{pid}/oom_score_adj"))?;
    in_force("oom_score_adj", score.trim().to_owned(), &OOM_SCORE_ADJ.to_string())
}

/// Checks a server, `pid`, which says that it serves: it is as its template was, under filters of its own, and
/// in the control group `group` in every hierarchy that limits anything.
pub(crate) fn of_server(pid: i32, uid: u32, group: &Path) -> Result<(), VerificationError> {
    of_process(pid, &Expected::worker(uid), filters_of_container() + SERVER_FILTERS)?;
    let memberships = read(format!("/proc/{pid}/cgroup"))?;
    let strays = strays(&memberships, group);
    in_force("outside its control group", strays.join(" "), "")
}

/// The lines of a /proc/PID/cgroup that are of another group.
fn strays<'a>(memberships: &'a str, group: &Path) -> Vec<&'a str> {
    let controllers = |line: &'a str| line.split(':').nth(1).unwrap_or_default();
    let is_limiting = |line: &&'a str| !controllers(line).is_empty() && !controllers(line).starts_with("name=");
    let limiting: Vec<&str> = memberships.lines().filter(is_limiting).collect();
    // Pure v2 has one line, which names no controller.
    let counted = if limiting.is_empty() { memberships.lines().collect() } else { limiting };
    let is_its =
        |line: &&str| line.splitn(3, ':').nth(2).is_some_and(|path| Path::new(path).ends_with(relative(group)));
    counted.into_iter().filter(|line| !is_its(line)).collect()
}

/// Where the daemon runs in a group of its own namespace, paths begin elsewhere.
fn relative(group: &Path) -> &Path {
    group.strip_prefix("/").unwrap_or(group)
}

fn filters_of_container() -> u32 {
    if Defence::SystemCallFilter.stands() { CONTAINER_FILTERS } else { 0 }
}

/// What a process is allowed, under so many filters.
fn of_process(pid: i32, expected: &Expected, filters: u32) -> Result<(), VerificationError> {
    let status = read(format!("/proc/{pid}/status"))?;
    let four = |id: u32| [id; 4].map(|id| id.to_string()).join(" ");
    let groups = expected.groups.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
    for (field, expected) in [
        ("Uid:", four(expected.uid).as_str()),
        ("Gid:", &four(expected.gid)),
        ("Groups:", &groups),
        ("NoNewPrivs:", "1"),
        ("Seccomp:", if filters > 0 { FILTERED } else { UNFILTERED }),
        ("Seccomp_filters:", &filters.to_string()),
    ] {
        in_force(field, field_of(&status, field), expected)?;
    }
    if Defence::NoCapabilities.stands() {
        let its = expected.capabilities;
        for (set, capabilities) in
            [("CapInh:", 0), ("CapPrm:", its), ("CapEff:", its), ("CapBnd:", its), ("CapAmb:", 0)]
        {
            in_force(set, field_of(&status, set), &format!("{capabilities:016x}"))?;
        }
    }
    Ok(())
}

fn read(path: String) -> Result<String, VerificationError> {
    fs::read_to_string(&path).map_err(|source| VerificationError::Read { path, source })
}

fn field_of(status: &str, field: &str) -> String {
    let value = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
    value.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn in_force(field: &'static str, found: String, expected: &str) -> Result<(), VerificationError> {
    if found == expected {
        return Ok(());
    }
    Err(VerificationError::NotInForce { field, found, expected: expected.to_owned() })
}

/// Whether a path leads to procfs; the type of a file system cannot be forged by what is in it.
pub(crate) fn is_procfs(path: String) -> Result<(), VerificationError> {
    let kind = rustix::fs::open(path.as_str(), OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .and_then(rustix::fs::fstatfs)
        .map_err(|source| VerificationError::Read { path: path.clone(), source: source.into() })?
        .f_type;
    if kind == PROC_SUPER_MAGIC { Ok(()) } else { Err(VerificationError::NotProc { path }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_is_known_by_its_type() {
        assert!(is_procfs("/proc".to_owned()).is_ok());
        let error = is_procfs("/sys".to_owned());
        assert!(matches!(error, Err(VerificationError::NotProc { path }) if path == "/sys"));
    }

    #[test]
    fn what_is_not_in_force_is_named_with_what_was_found() {
        let status = "Name:\tx\nUid:\t7\t7\t7\t7\nNoNewPrivs:\t0\n";
        assert_eq!(field_of(status, "Uid:"), "7 7 7 7");
        let error = in_force("NoNewPrivs:", field_of(status, "NoNewPrivs:"), "1").map_err(|error| error.to_string());
        assert!(error.is_err_and(|text| text.contains("NoNewPrivs: is `0`, not `1`")));
    }

    #[test]
    fn a_server_is_in_its_group_in_every_hierarchy_that_limits() {
        let group = Path::new("/dormouse-1f/a-1-2");
        let strays = |memberships| strays(memberships, group);
        let none: [&str; 0] = [];
        assert_eq!(strays("0::/dormouse-1f/a-1-2\n"), none);
        assert_eq!(strays("0::/outer/dormouse-1f/a-1-2\n"), none);
        assert_eq!(strays("0::/dormouse-1f/a-1-1\n"), ["0::/dormouse-1f/a-1-1"]);
        let hybrid = "9:name=systemd:/\n8:pids:/dormouse-1f/a-1-2\n7:cpu,cpuacct:/dormouse-1f/a-1-1\n0::/\n";
        assert_eq!(strays(hybrid), ["7:cpu,cpuacct:/dormouse-1f/a-1-1"]);
        assert_eq!(strays(""), none);
    }
}

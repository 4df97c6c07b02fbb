//! Processes of a daemon, found by everything that could tie one to it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    ops::Range,
    os::linux::fs::MetadataExt,
};

use super::Subject;

/// A process that belongs to the daemon.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) pid: i32,
    pub(super) role: String,
    is_zombie: bool,
}

struct Line {
    pid: i32,
    parent: i32,
    state: String,
}

/// By parentage, by control group, by uid, by command line and by what is mounted for it: any one of
/// them is enough.
pub(super) fn of(subject: &Subject, spawner: Option<i32>) -> Vec<Task> {
    let lines: Vec<Line> = pids().into_iter().filter_map(line).collect();
    let mut family: BTreeSet<i32> = spawner.into_iter().collect();
    // As often as generations there may be: the spawner, the node or a child, a container's init.
    loop {
        let children: Vec<i32> = lines
            .iter()
            .filter(|it| family.contains(&it.parent) && !family.contains(&it.pid))
            .map(|it| it.pid)
            .collect();
        if children.is_empty() {
            break;
        }
        family.extend(children);
    }
    // Once it ended, its uids may be another daemon's.
    let uids = spawner.and_then(|_| subject.uid_block()).unwrap_or_default();
    let ours = lines.into_iter().filter(|line| family.contains(&line.pid) || is_tied(subject, &uids, line.pid));
    ours.map(|line| Task { pid: line.pid, role: role(line.pid, spawner), is_zombie: line.state == "Z" }).collect()
}

fn pids() -> Vec<i32> {
    let entries = fs::read_dir("/proc").unwrap();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

fn line(pid: i32) -> Option<Line> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit(')').next()?.split_whitespace();
    Some(Line { pid, state: fields.next()?.to_owned(), parent: fields.next()?.parse().ok()? })
}

fn is_tied(subject: &Subject, uids: &Range<u32>, pid: i32) -> bool {
    let read = |file: &str| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let mentions = |text: &[u8], what: &str| !what.is_empty() && String::from_utf8_lossy(text).contains(what);
    let run = subject.run.to_str().unwrap_or_default();
    mentions(&read("cgroup"), &format!("dormouse-{}", subject.instance))
        || mentions(&read("cmdline"), run)
        || mentions(&read("mountinfo"), subject.home.to_str().unwrap_or_default())
        || fs::metadata(format!("/proc/{pid}")).is_ok_and(|owner| uids.contains(&owner.st_uid()))
}

fn role(pid: i32, spawner: Option<i32>) -> String {
    if Some(pid) == spawner {
        return "spawner".to_owned();
    }
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let verb = line.split(|byte| *byte == 0).nth(1).map(|verb| String::from_utf8_lossy(verb).into_owned());
    verb.filter(|verb| !verb.is_empty()).unwrap_or_else(|| "nameless".to_owned())
}

impl Task {
    pub(super) fn shown(&self) -> String {
        if self.is_zombie { format!("{} (zombie)", self.role) } else { self.role.clone() }
    }

    /// Which of its threads there are; a runtime's workers bear one name.
    pub(super) fn threads(&self) -> Vec<String> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid)).into_iter().flatten();
        let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
        names.map(|name| format!("{}: {}", self.role, name.trim())).collect()
    }
}

/// Namespaces that processes of the daemon are in and this one is not, each once.
pub(super) fn namespaces(tasks: &[Task]) -> Vec<String> {
    let of = |pid: &str| {
        let links = fs::read_dir(format!("/proc/{pid}/ns")).into_iter().flatten().filter_map(Result::ok);
        links
            .filter_map(|link| Some(fs::read_link(link.path()).ok()?.to_string_lossy().into_owned()))
            .collect::<Vec<_>>()
    };
    let of_this: BTreeSet<String> = of("self").into_iter().collect();
    let mut found: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for task in tasks {
        for namespace in of(&task.pid.to_string()).into_iter().filter(|it| !of_this.contains(it)) {
            found.entry(namespace).or_default().insert(&task.role);
        }
    }
    let kind = |namespace: &str| namespace.split(':').next().unwrap_or_default().to_owned();
    let roles = |roles: BTreeSet<&str>| roles.into_iter().collect::<Vec<_>>().join(", ");
    found.into_iter().map(|(namespace, of)| format!("{} of {}", kind(&namespace), roles(of))).collect()
}

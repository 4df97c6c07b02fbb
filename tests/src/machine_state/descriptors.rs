//! What a process holds open.

use std::fs;

use super::{Subject, sockets::Table, tasks::Task};

/// Each block of uids that a daemon of the machine holds has a file here.
const UID_LOCKS: &str = "/run/dormouse-uids";

pub(super) fn of(task: &Task, sockets: &Table, subject: &Subject) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{}/fd", task.pid)).into_iter().flatten().filter_map(Result::ok);
    let links = entries.filter_map(|entry| fs::read_link(entry.path()).ok());
    links.map(|link| format!("{}: {}", task.role, kind(&link.to_string_lossy(), sockets, subject))).collect()
}

fn kind(link: &str, sockets: &Table, subject: &Subject) -> String {
    let numbered = |prefix: &str| link.strip_prefix(prefix).and_then(|rest| rest.trim_end_matches(']').parse().ok());
    if let Some(inode) = numbered("socket:[") {
        return subject.shown(sockets.kind(inode));
    }
    if numbered("pipe:[").is_some() {
        return "pipe".to_owned();
    }
    // A daemon that starts again takes another block of uids where somebody has its own by then.
    if let Some((locks, _)) = link.rsplit_once('/').filter(|(locks, _)| *locks == UID_LOCKS) {
        return format!("{locks}/BLOCK");
    }
    // A namespace held by a descriptor is told by its kind, not by its number.
    match link.split_once(":[") {
        Some((kind, _)) if !link.starts_with('/') && !link.starts_with("anon_inode") => format!("namespace {kind}"),
        _ => subject.shown(link),
    }
}

//! Control groups, mounts and files.

use std::{
    fs,
    os::linux::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::{Subject, tasks::Task};

/// Every directory below a group of the daemon's own name, at any depth, by hierarchy.
pub(super) fn control_groups(instance: &str) -> Vec<(String, Vec<String>)> {
    let top = Path::new("/sys/fs/cgroup");
    let mounted = fs::read_dir(top).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
    let hierarchies = mounted.filter(|path| path.join("cgroup.procs").exists() && is_mount(path));
    let of = |root: PathBuf| {
        let mut found = Vec::new();
        collect(&root.join(format!("dormouse-{instance}")), &mut found, &|path| path.is_dir());
        let below = |path: &PathBuf| {
            let path = path.strip_prefix(&root).unwrap().display().to_string();
            super::without_number_of_blank(&path.replace(instance, "ID"))
        };
        let name = root.file_name().map_or("everything".into(), |name| name.to_string_lossy().into_owned());
        (name, found.iter().map(below).collect())
    };
    // Where v2 is alone, the top is the one hierarchy.
    let unified = Some(top.to_owned()).filter(|top| top.join("cgroup.procs").exists());
    hierarchies.chain(unified).map(of).collect()
}

/// A hierarchy, not a group within one.
fn is_mount(path: &Path) -> bool {
    let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.st_dev()).ok();
    !path.is_symlink() && device(path) != path.parent().and_then(device)
}

fn collect(path: &Path, found: &mut Vec<PathBuf>, counts: &dyn Fn(&Path) -> bool) {
    if path.symlink_metadata().is_err() || !counts(path) {
        return;
    }
    found.push(path.to_owned());
    let is_directory = path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir());
    if is_directory {
        let entries = fs::read_dir(path).into_iter().flatten().filter_map(Result::ok);
        entries.for_each(|entry| collect(&entry.path(), found, counts));
    }
}

/// All mounts that the daemon's processes see, and those of this process that lie in its home.
pub(super) fn mounts(subject: &Subject, tasks: &[Task]) -> Vec<String> {
    let mounts_of = |pid: &str| fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
    let point = |line: &str| line.split(' ').nth(4).unwrap_or_default().to_owned();
    let mut mounts: Vec<String> = Vec::new();
    for task in tasks {
        let lines = mounts_of(&task.pid.to_string());
        mounts.extend(lines.lines().map(|line| format!("{}: {}", task.role, subject.shown(&point(line)))));
    }
    let home = subject.home.to_str().unwrap_or_default();
    let outside = mounts_of("self");
    mounts.extend(outside.lines().filter(|line| line.contains(home)).map(|line| format!("machine: {}", point(line))));
    mounts
}

/// Every file beneath a directory, with its size where that is to stay the same. `grows` names
/// directories whose files may.
pub(super) fn files(directory: &Path, grows: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    collect(directory, &mut found, &|_| true);
    let shown = |path: &PathBuf| {
        let relative = path.strip_prefix(directory).ok()?.to_str()?.to_owned();
        let metadata = path.symlink_metadata().ok()?;
        let may_grow = grows.iter().any(|name| relative.starts_with(name)) || relative == "uids.json";
        let size = (metadata.is_file() && !may_grow).then(|| format!(" ({} B)", metadata.len()));
        (!relative.is_empty()).then(|| relative + &size.unwrap_or_default())
    };
    found.iter().filter_map(shown).collect()
}

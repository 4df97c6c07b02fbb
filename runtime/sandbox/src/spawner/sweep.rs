//! Removing what an earlier life of this instance left, and nothing else.

use std::{
    fs, io,
    os::fd::AsFd,
    path::Path,
    time::{Duration, Instant},
};

use rustix::fs::CWD;

use crate::{
    cgroup::{CgroupError, Hierarchy, Removal, ReplicaGroup},
    instance::{Instance, InstanceError},
    removal,
};

/// How long the kernel may take to end processes that were killed.
const SWEEP_DEADLINE: Duration = Duration::from_secs(20);
/// Between two looks at a group that is emptying: the kernel tells nobody on v1.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Why something was left.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    #[error("processes of control group `{0}` do not end although they were killed")]
    StillThere(String),
    #[error("removing the old sockets failed")]
    Sockets(#[source] io::Error),
    #[error("removing the directories of a daemon that was killed failed")]
    Abandoned(#[source] io::Error),
    #[error(transparent)]
    Instance(#[from] InstanceError),
}

/// Kills and removes every control group of this instance with all that runs in it: replicas, and a
/// node process that has not noticed yet that its spawner is gone.
///
/// # Errors
/// Where the kernel does not let go of something in time.
pub(super) fn sweep(instance: &Instance, hierarchy: &Hierarchy) -> Result<usize, SweepError> {
    let name = instance.cgroup_name();
    let leftovers = hierarchy.leftovers(&name)?;
    if !leftovers.is_empty() {
        let groups = hierarchy.instance(&name)?;
        let opened: Vec<_> =
            leftovers.iter().map(|it| Ok((groups.open(it)?, it))).collect::<Result<_, CgroupError>>()?;
        // All before any is waited for: a template does not end before its servers, frozen ones too.
        for (group, _) in &opened {
            group.kill()?;
        }
        for (group, leftover) in opened {
            remove_group(&group, leftover)?;
        }
        groups.remove()?;
    }
    match fs::remove_dir_all(instance.sockets()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(SweepError::Sockets(error)),
        _ => Ok(leftovers.len()),
    }
}

/// Sweeps the run directories `serve-*` under `parent` whose daemon was killed before it could
/// remove them. One that is locked belongs to a daemon that lives.
///
/// # Errors
/// As [`sweep`].
pub fn sweep_abandoned(parent: &Path, hierarchy: &Hierarchy) -> Result<(), SweepError> {
    let Ok(entries) = fs::read_dir(parent) else { return Ok(()) };
    let abandoned = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("serve-"))
        .map(|entry| entry.path());
    for run in abandoned {
        let Ok(instance) = Instance::lock(&run) else { continue };
        sweep(&instance, hierarchy)?;
        removal::whole(CWD.as_fd(), &run).map_err(|error| SweepError::Abandoned(error.into()))?;
    }
    Ok(())
}

/// Kills all in a group and removes it, waiting for the kernel where it must. Killed again with each
/// try: a creation child that outlived its spawner may join the group at any moment.
pub(crate) fn remove_group(group: &ReplicaGroup, name: &str) -> Result<(), SweepError> {
    let deadline = Instant::now() + SWEEP_DEADLINE;
    loop {
        group.kill()?;
        if matches!(group.remove()?, Removal::Removed) {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(SweepError::StillThere(name.to_owned()));
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

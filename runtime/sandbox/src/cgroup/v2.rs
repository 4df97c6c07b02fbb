//! Version 2: one hierarchy with all controllers, so one group is one directory.

use std::{
    path::{Path, PathBuf},
    slice,
};

use dormouse_spec::{Bytes, Limits};

use super::{
    CgroupError, FreezerState, Group, Layout, MemoryAlarm, Statistics, Version,
    freezer::{Freezer, Words},
    interface,
    limits::Controllers,
};
use crate::devices::{self, DeviceError, DeviceRule};

/// Freezing is part of every v2 group, and devices are a matter of BPF: neither is a controller.
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];
const WORDS: Words = Words { frozen: "1", thawed: "0" };

#[derive(Debug)]
pub(super) struct Unified {
    root: PathBuf,
}

impl Unified {
    pub(super) fn new(root: PathBuf) -> Result<Self, CgroupError> {
        let available = interface::read(&root.join("cgroup.controllers"))?;
        let is_there = |name: &str| available.split_whitespace().any(|known| known == name);
        match CONTROLLERS.iter().find(|name| !is_there(name)) {
            Some(controller) => Err(CgroupError::ControllerMissing { controller, version: Version::V2 }),
            None => Ok(Self { root }),
        }
    }
}

impl Layout for Unified {
    fn version(&self) -> Version {
        Version::V2
    }

    fn roots(&self) -> &[PathBuf] {
        slice::from_ref(&self.root)
    }

    fn seldom_used_root(&self) -> Option<&Path> {
        None
    }

    fn prepare_parent(&self, parent: &Path) -> Result<(), CgroupError> {
        let enabled = CONTROLLERS.map(|name| format!("+{name}")).join(" ");
        interface::write(&self.root.join("cgroup.subtree_control"), &enabled)?;
        interface::write(&self.root.join(parent).join("cgroup.subtree_control"), &enabled)
    }

    fn group(&self, path: &Path) -> Box<dyn Group> {
        let directory = self.root.join(path);
        Box::new(Directory { outside: directory.join("outside"), directory, path: path.to_owned() })
    }
}

/// One group.
#[derive(Debug)]
struct Directory {
    path: PathBuf,
    directory: PathBuf,
    /// Below it, so that it is limited, frozen and ended with it.
    outside: PathBuf,
}

impl Directory {
    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn controllers(&self) -> Controllers {
        let directory = || self.directory.clone();
        Controllers::new(Version::V2, &self.path, directory(), directory(), directory())
    }
}

impl Group for Directory {
    fn directories(&self) -> &[PathBuf] {
        slice::from_ref(&self.directory)
    }

    fn shown(&self) -> Vec<(Vec<&'static str>, &Path)> {
        vec![(Vec::new(), &self.directory)]
    }

    fn prepare(&self) -> Result<(), CgroupError> {
        // A replica that lost one of its processes is of no use; all of them end, and it is started anew.
        interface::write(&self.file("memory.oom.group"), "1")
    }

    fn entrances(&self) -> Vec<PathBuf> {
        vec![self.file("cgroup.procs")]
    }

    fn set_limits(&self, limits: &Limits) -> Result<(), CgroupError> {
        let controllers = self.controllers();
        controllers.set_cpu(limits.cpu)?;
        controllers.set_pids(limits)?;
        if self.file("memory.swap.max").exists() {
            controllers.set_swap(Bytes::new(0))?;
        }
        controllers.set_memory(limits.memory)
    }

    fn open_freezer(&self) -> Result<Freezer, CgroupError> {
        Freezer::open(&self.file("cgroup.freeze"), WORDS)
    }

    fn freezer_state(&self) -> Result<FreezerState, CgroupError> {
        if interface::keyed(&self.file("cgroup.events"), "frozen")? == 1 {
            return Ok(FreezerState::Frozen);
        }
        match interface::number(&self.file("cgroup.freeze"))? {
            0 => Ok(FreezerState::Thawed),
            _ => Ok(FreezerState::Freezing),
        }
    }

    fn kill_at_once(&self) -> Result<bool, CgroupError> {
        match interface::write(&self.file("cgroup.kill"), "1") {
            Ok(()) => Ok(true),
            // Either the whole group is gone or only this file is missing: the list will tell.
            Err(error) if error.is_gone() => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn out_of_memory_kills(&self) -> Result<u64, CgroupError> {
        interface::keyed(&self.file("memory.events"), "oom_kill")
    }

    /// `memory.oom.group` does what an alarm would be for.
    fn open_memory_alarm(&self) -> Result<Option<MemoryAlarm>, CgroupError> {
        Ok(None)
    }

    fn process_refusals(&self) -> Result<u64, CgroupError> {
        interface::keyed(&self.file("pids.events"), "max")
    }

    fn statistics(&self) -> Result<Statistics, CgroupError> {
        // Read here and not through cgroups-rs, which says 0 where a file cannot be read.
        let memory_peak_bytes = match interface::number(&self.file("memory.peak")) {
            Err(error) if error.is_gone() => None,
            peak => Some(peak?),
        };
        Ok(Statistics {
            memory_bytes: interface::number(&self.file("memory.current"))?,
            memory_peak_bytes,
            cpu_us: interface::keyed(&self.file("cpu.stat"), "usage_usec")?,
            pids: self.controllers().processes_and_threads()?,
        })
    }

    fn set_device_policy(&self, rules: &[DeviceRule]) -> Result<(), DeviceError> {
        devices::v2::apply(&self.directory, rules)
    }

    fn outside(&self) -> Option<&Path> {
        Some(&self.outside)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_missing_controller_is_named_with_what_to_do() {
        let root = tempfile::tempdir().unwrap();
        let detect = |controllers: &str| {
            std::fs::write(root.path().join("cgroup.controllers"), controllers).unwrap();
            Unified::new(root.path().to_owned()).map(drop).map_err(|error| error.to_string())
        };
        assert_eq!(detect("cpuset cpu io memory hugetlb pids rdma\n"), Ok(()));
        assert!(detect("cpuset cpu io hugetlb pids\n").is_err_and(|text| text.contains("cgroup_enable=memory")));
    }
}

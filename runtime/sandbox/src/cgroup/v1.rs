//! Version 1: a hierarchy for each controller, so one group is a directory in each of them.

use std::path::{Path, PathBuf};

use dormouse_spec::Limits;

use super::{
    CgroupError, FreezerState, Group, Layout, MemoryAlarm, Statistics, Version,
    freezer::{Freezer, Words},
    interface,
    limits::Controllers,
    mounts::{self, V1_CONTROLLERS},
};
use crate::devices::{self, DeviceError, DeviceRule};

const WORDS: Words = Words { frozen: "FROZEN", thawed: "THAWED" };

/// Groups are made in every hierarchy, not only in those whose limits are used: what is counted and
/// what is limited is then the same, whatever is mounted together.
#[derive(Debug)]
pub(super) struct Hierarchies {
    roots: Vec<PathBuf>,
    cpu: PathBuf,
    cpuacct: Option<PathBuf>,
    cpuset: Option<PathBuf>,
    memory: PathBuf,
    pids: PathBuf,
    devices: PathBuf,
    freezer: PathBuf,
    unified: Option<PathBuf>,
}

impl Hierarchies {
    pub(super) fn new(mounted: &[mounts::Hierarchy], unified: Option<PathBuf>) -> Result<Self, CgroupError> {
        let root_of = |name: &str| {
            let has = |hierarchy: &&mounts::Hierarchy| hierarchy.controllers.iter().any(|known| known == name);
            mounted.iter().find(has).map(|hierarchy| hierarchy.root.clone())
        };
        let [cpu, memory, pids, devices, freezer] = V1_CONTROLLERS.map(|controller| {
            root_of(controller).ok_or(CgroupError::ControllerMissing { controller, version: Version::V1 })
        });
        Ok(Self {
            roots: mounted.iter().map(|hierarchy| hierarchy.root.clone()).collect(),
            cpu: cpu?,
            cpuacct: root_of("cpuacct"),
            cpuset: root_of("cpuset"),
            memory: memory?,
            pids: pids?,
            devices: devices?,
            freezer: freezer?,
            unified,
        })
    }
}

impl Layout for Hierarchies {
    fn version(&self) -> Version {
        Version::V1
    }

    fn roots(&self) -> &[PathBuf] {
        &self.roots
    }

    fn seldom_used_root(&self) -> Option<&Path> {
        self.unified.as_deref()
    }

    fn prepare_parent(&self, parent: &Path) -> Result<(), CgroupError> {
        self.cpuset.iter().try_for_each(|root| inherit_cpuset(&root.join(parent)))
    }

    fn group(&self, path: &Path) -> Box<dyn Group> {
        Box::new(Directories {
            all: self.roots.iter().map(|root| root.join(path)).collect(),
            cpuset: self.cpuset.as_ref().map(|root| root.join(path)),
            cpuacct: self.cpuacct.as_ref().map(|root| root.join(path)),
            cpu: self.cpu.join(path),
            memory: self.memory.join(path),
            pids: self.pids.join(path),
            devices: self.devices.join(path),
            freezer: self.freezer.join(path),
            outside: self.unified.as_ref().map(|root| root.join(path)),
            path: path.to_owned(),
        })
    }
}

/// A new cpuset is empty, and an empty one takes no process.
fn inherit_cpuset(group: &Path) -> Result<(), CgroupError> {
    let parent = group.parent().unwrap_or(group);
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if interface::read(&group.join(file))?.trim().is_empty() {
            interface::write(&group.join(file), interface::read(&parent.join(file))?.trim())?;
        }
    }
    Ok(())
}

/// One group: its directory in each hierarchy.
#[derive(Debug)]
struct Directories {
    path: PathBuf,
    all: Vec<PathBuf>,
    cpu: PathBuf,
    cpuacct: Option<PathBuf>,
    cpuset: Option<PathBuf>,
    memory: PathBuf,
    pids: PathBuf,
    devices: PathBuf,
    freezer: PathBuf,
    outside: Option<PathBuf>,
}

impl Directories {
    fn controllers(&self) -> Controllers {
        Controllers::new(Version::V1, &self.path, self.cpu.clone(), self.memory.clone(), self.pids.clone())
    }

    /// Memory and swap together may never be less than memory alone, so a limit that grows is
    /// raised for both first. Without swap accounting in the kernel there is one limit only.
    fn set_memory(&self, controllers: &Controllers, limits: &Limits) -> Result<(), CgroupError> {
        self.set_socket_memory(limits)?;
        if !self.memory.join("memory.memsw.limit_in_bytes").exists() {
            return controllers.set_memory(limits.memory);
        }
        let grows = limits.memory.get() > interface::number(&self.memory.join("memory.limit_in_bytes"))?;
        if grows {
            controllers.set_swap(limits.memory)?;
            controllers.set_memory(limits.memory)
        } else {
            controllers.set_memory(limits.memory)?;
            controllers.set_swap(limits.memory)
        }
    }
}

impl Directories {
    /// Buffers of TCP sockets are counted apart, and without a limit until they have one. Kernels that do not account
    /// for them have no such file.
    fn set_socket_memory(&self, limits: &Limits) -> Result<(), CgroupError> {
        let path = self.memory.join("memory.kmem.tcp.limit_in_bytes");
        if !path.exists() {
            return Ok(());
        }
        interface::write(&path, &limits.memory.get().to_string())
    }
}

impl Group for Directories {
    fn directories(&self) -> &[PathBuf] {
        &self.all
    }

    /// Those of devices and of the freezer are for the daemon.
    fn shown(&self) -> Vec<(Vec<&'static str>, &Path)> {
        let own = [
            ("cpu", Some(&self.cpu)),
            ("cpuacct", self.cpuacct.as_ref()),
            ("cpuset", self.cpuset.as_ref()),
            ("memory", Some(&self.memory)),
            ("pids", Some(&self.pids)),
        ];
        let mut shown: Vec<(Vec<&'static str>, &Path)> = Vec::with_capacity(own.len());
        for (controller, directory) in own.into_iter().filter_map(|(name, directory)| Some((name, directory?))) {
            match shown.iter_mut().find(|(_, known)| known == directory) {
                Some((together, _)) => together.push(controller),
                None => shown.push((vec![controller], directory)),
            }
        }
        shown
    }

    fn prepare(&self) -> Result<(), CgroupError> {
        self.cpuset.iter().try_for_each(|directory| inherit_cpuset(directory))?;
        self.controllers().set_swappiness(0)
    }

    /// `tasks`, not `cgroup.procs`: moving one's own only thread takes no lock over all processes.
    fn entrances(&self) -> Vec<PathBuf> {
        self.all.iter().map(|directory| directory.join("tasks")).collect()
    }

    fn set_limits(&self, limits: &Limits) -> Result<(), CgroupError> {
        let controllers = self.controllers();
        controllers.set_cpu(limits.cpu)?;
        controllers.set_pids(limits)?;
        self.set_memory(&controllers, limits)
    }

    fn open_freezer(&self) -> Result<Freezer, CgroupError> {
        Freezer::open(&self.freezer.join("freezer.state"), WORDS)
    }

    fn freezer_state(&self) -> Result<FreezerState, CgroupError> {
        let path = self.freezer.join("freezer.state");
        match interface::read(&path)?.trim() {
            "THAWED" => Ok(FreezerState::Thawed),
            "FREEZING" => Ok(FreezerState::Freezing),
            "FROZEN" => Ok(FreezerState::Frozen),
            other => Err(interface::malformed(&path, other)),
        }
    }

    fn kill_at_once(&self) -> Result<bool, CgroupError> {
        Ok(false)
    }

    fn out_of_memory_kills(&self) -> Result<u64, CgroupError> {
        interface::keyed(&self.memory.join("memory.oom_control"), "oom_kill")
    }

    fn open_memory_alarm(&self) -> Result<Option<MemoryAlarm>, CgroupError> {
        MemoryAlarm::open(&self.memory).map(Some)
    }

    fn process_refusals(&self) -> Result<u64, CgroupError> {
        interface::keyed(&self.pids.join("pids.events"), "max")
    }

    fn statistics(&self) -> Result<Statistics, CgroupError> {
        // Read here and not through cgroups-rs, which says 0 where a file cannot be read.
        let cpu_ns = match &self.cpuacct {
            Some(directory) => interface::number(&directory.join("cpuacct.usage"))?,
            None => 0,
        };
        Ok(Statistics {
            memory_bytes: interface::number(&self.memory.join("memory.usage_in_bytes"))?,
            memory_peak_bytes: Some(interface::number(&self.memory.join("memory.max_usage_in_bytes"))?),
            cpu_us: cpu_ns / 1000,
            pids: self.controllers().processes_and_threads()?,
        })
    }

    fn set_device_policy(&self, rules: &[DeviceRule]) -> Result<(), DeviceError> {
        devices::v1::apply(&self.devices, rules)
    }

    fn outside(&self) -> Option<&Path> {
        self.outside.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_controller_is_named_with_what_to_do() {
        let mounted = V1_CONTROLLERS.map(|name| mounts::Hierarchy {
            root: Path::new("/sys/fs/cgroup").join(name),
            controllers: vec![name.to_owned()],
        });
        assert!(Hierarchies::new(&mounted, None).is_ok());
        for (missing, name) in V1_CONTROLLERS.into_iter().enumerate() {
            let mut mounted = mounted.to_vec();
            mounted.remove(missing);
            let error = Hierarchies::new(&mounted, None).map(drop).map_err(|error| error.to_string());
            assert!(error.is_err_and(|text| text.contains(&format!("cgroup_enable={name}"))), "{name}");
        }
    }
}

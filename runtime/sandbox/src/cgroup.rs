//! Control groups, v1 (also hybrid) and v2: how one replica is limited, stopped and ended.
//!
//! An instance of the daemon owns one parent group, `/dormouse-<id>`, and each replica a group
//! below it. What differs between the versions is in `v1` and `v2`; everything here serves both.

mod alarm;
mod error;
mod freezer;
mod interface;
mod kill;
mod limits;
mod mounts;
mod replica;
mod v1;
mod v2;

use std::{
    collections::BTreeSet,
    fmt, fs, io,
    path::{Path, PathBuf},
    rc::Rc,
};

use dormouse_spec::Limits;

pub use self::{alarm::MemoryAlarm, error::CgroupError, replica::ReplicaGroup};
use self::{freezer::Freezer, mounts::Mounts};
use crate::{
    defence::Defence,
    devices::{self, DeviceError, DeviceRule},
};

/// Which of the kernel's two designs a machine uses for the controllers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// One hierarchy for each controller; also hybrid machines, whose v2 hierarchy has none.
    V1,
    /// One hierarchy for all of them.
    V2,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        })
    }
}

/// Whether the processes of a group run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FreezerState {
    Thawed,
    /// Told to stop; some have not reached the place where they can.
    Freezing,
    Frozen,
}

/// What one replica uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statistics {
    /// Memory charged now, in bytes.
    pub memory_bytes: u64,
    /// The most memory ever charged, in bytes; v2 tells it from kernel 5.19 on.
    pub memory_peak_bytes: Option<u64>,
    /// Processor time used so far, in microseconds.
    pub cpu_us: u64,
    /// Processes and threads now.
    pub pids: u64,
}

/// The outcome of one try to remove a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// Nothing of it is left, or nothing was there.
    Removed,
    /// A process in it has not been reaped yet: try again after the next exit.
    Busy,
}

/// Where a version keeps its groups. Paths are relative to each root.
trait Layout: fmt::Debug {
    fn version(&self) -> Version;
    /// The top directory of every hierarchy in which a group is made.
    fn roots(&self) -> &[PathBuf];
    /// The top directory of a hierarchy in which few have a group.
    fn seldom_used_root(&self) -> Option<&Path>;
    /// Makes a new parent group able to hold limited groups.
    fn prepare_parent(&self, parent: &Path) -> Result<(), CgroupError>;
    fn group(&self, path: &Path) -> Box<dyn Group>;
}

/// One group as a version sees it.
trait Group: fmt::Debug {
    /// Every directory that makes up the group.
    fn directories(&self) -> &[PathBuf];
    /// Those that tell what it is limited to and uses, each with its controllers where it has only some.
    fn shown(&self) -> Vec<(Vec<&'static str>, &Path)>;
    /// What a new group needs before a process can be in it.
    fn prepare(&self) -> Result<(), CgroupError>;
    /// The files through which a process moves itself into the group by writing `0`.
    fn entrances(&self) -> Vec<PathBuf>;
    fn set_limits(&self, limits: &Limits) -> Result<(), CgroupError>;
    fn open_freezer(&self) -> Result<Freezer, CgroupError>;
    fn freezer_state(&self) -> Result<FreezerState, CgroupError>;
    /// Kills every process in one step where the kernel can; false where it cannot.
    fn kill_at_once(&self) -> Result<bool, CgroupError>;
    fn out_of_memory_kills(&self) -> Result<u64, CgroupError>;
    /// Tells when the group runs out of memory, where the kernel does not end all of it by itself.
    fn open_memory_alarm(&self) -> Result<Option<MemoryAlarm>, CgroupError>;
    fn process_refusals(&self) -> Result<u64, CgroupError>;
    fn statistics(&self) -> Result<Statistics, CgroupError>;
    fn set_device_policy(&self, rules: &[DeviceRule]) -> Result<(), DeviceError>;
    /// The directory in the hierarchy of v2 of what belongs to the group and runs outside its container; none where
    /// that hierarchy is not mounted.
    fn outside(&self) -> Option<&Path>;
}

/// The control groups of this machine.
#[derive(Debug, Clone)]
pub struct Hierarchy {
    layout: Rc<dyn Layout>,
}

impl Hierarchy {
    /// Finds what is mounted and whether it can enforce everything that a replica needs.
    ///
    /// # Errors
    /// Where a controller is missing, or on v2 where the kernel cannot enforce a device policy: a
    /// replica is never run with less than all of its limits.
    pub fn detect() -> Result<Self, CgroupError> {
        let path = Path::new("/proc/self/mountinfo");
        let mountinfo = fs::read_to_string(path).map_err(CgroupError::file("reading", path))?;
        let layout: Rc<dyn Layout> = match Mounts::parse(&mountinfo).ok_or(CgroupError::NotMounted)? {
            Mounts::V1 { hierarchies, unified } => Rc::new(v1::Hierarchies::new(&hierarchies, unified)?),
            Mounts::V2(root) => {
                devices::probe_kernel()?;
                Rc::new(v2::Unified::new(root)?)
            }
        };
        Ok(Self { layout })
    }

    #[must_use]
    pub fn version(&self) -> Version {
        self.layout.version()
    }

    /// Makes the parent group of one instance of the daemon, or finds it as an earlier one left it.
    ///
    /// # Errors
    /// Where the kernel refuses the group or its controllers.
    pub fn instance(&self, parent_name: &str) -> Result<InstanceGroup, CgroupError> {
        let path = PathBuf::from(component(parent_name)?);
        for root in self.layout.roots() {
            let directory = root.join(&path);
            match fs::create_dir(&directory) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(CgroupError::file("making control group", &directory)(error));
                }
                _ => {}
            }
        }
        self.layout.prepare_parent(&path)?;
        Ok(InstanceGroup { layout: Rc::clone(&self.layout), path })
    }

    /// The names of the groups below a parent, in order; none where there is no such parent.
    ///
    /// # Errors
    /// Where a directory cannot be read.
    pub fn leftovers(&self, parent_name: &str) -> Result<Vec<String>, CgroupError> {
        let parent = component(parent_name)?;
        let mut names = BTreeSet::new();
        let roots = self.layout.roots().iter().map(PathBuf::as_path).chain(self.layout.seldom_used_root());
        for root in roots {
            names.extend(interface::children(&root.join(parent))?);
        }
        Ok(names.into_iter().collect())
    }
}

/// The parent group of one instance of the daemon.
#[derive(Debug, Clone)]
pub struct InstanceGroup {
    layout: Rc<dyn Layout>,
    path: PathBuf,
}

impl InstanceGroup {
    /// Makes a replica's group with its limits.
    ///
    /// # Errors
    /// Where a group of this name exists, or a limit is refused; nothing is left then.
    pub fn create(&self, replica: &str, limits: &Limits) -> Result<ReplicaGroup, CgroupError> {
        self.make(replica, Some(limits))
    }

    /// Makes a group that only marks what belongs to this daemon, so that a sweep finds it.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn create_unlimited(&self, name: &str) -> Result<ReplicaGroup, CgroupError> {
        self.make(name, None)
    }

    fn make(&self, replica: &str, limits: Option<&Limits>) -> Result<ReplicaGroup, CgroupError> {
        let mut group = self.unopened(replica)?;
        if let Err(error) = group.make(limits) {
            // The first error tells more than one about cleaning up after it would.
            let _ = group.remove();
            return Err(error);
        }
        Ok(group)
    }

    /// A replica's group that an earlier daemon may have left, whole or in part: to end what is in
    /// it and remove it. It cannot be joined.
    ///
    /// # Errors
    /// Where its files cannot be opened.
    pub fn open(&self, replica: &str) -> Result<ReplicaGroup, CgroupError> {
        let mut group = self.unopened(replica)?;
        group.open_existing()?;
        Ok(group)
    }

    /// Removes the parent group, which must be empty; a missing one is fine.
    ///
    /// # Errors
    /// Where a replica's group is still below it.
    pub fn remove(&self) -> Result<(), CgroupError> {
        let roots = self.layout.roots().iter().map(PathBuf::as_path).chain(self.layout.seldom_used_root());
        for root in roots {
            let directory = root.join(&self.path);
            match fs::remove_dir(&directory) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(CgroupError::file("removing control group", &directory)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn unopened(&self, replica: &str) -> Result<ReplicaGroup, CgroupError> {
        let relative = self.path.join(component(replica)?);
        let kernel = self.layout.group(&relative);
        Ok(ReplicaGroup::unopened(&relative, kernel))
    }
}

/// A name that is one component of a path and no other place.
fn component(name: &str) -> Result<&str, CgroupError> {
    let is_component = !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0']);
    if is_component || !Defence::TypedNames.stands() { Ok(name) } else { Err(CgroupError::Name(name.to_owned())) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_parent() {
        for name in ["", ".", "..", "a/b", "/a", "a\0"] {
            assert!(component(name).is_err(), "{name:?}");
        }
        assert_eq!(component("dormouse-1f").unwrap(), "dormouse-1f");
    }
}

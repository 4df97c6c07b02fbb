use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs::{self, File},
    io::{self, Write},
    os::fd::{AsFd, BorrowedFd},
    path::{Path, PathBuf},
};

use dormouse_spec::Limits;

use super::{CgroupError, FreezerState, Group, MemoryAlarm, Removal, Statistics, freezer::Freezer, interface, kill};
use crate::devices::DeviceRule;

/// The group of one replica, in every hierarchy it has a part in.
#[derive(Debug)]
pub struct ReplicaGroup {
    path: PathBuf,
    kernel: Box<dyn Group>,
    /// Empty once closed.
    entrances: Vec<File>,
    freezer: Option<Freezer>,
    memory_alarm: Option<MemoryAlarm>,
}

impl ReplicaGroup {
    /// A group that may or may not be there, with nothing of it opened.
    pub(super) fn unopened(relative: &Path, kernel: Box<dyn Group>) -> Self {
        Self { path: Path::new("/").join(relative), kernel, entrances: Vec::new(), freezer: None, memory_alarm: None }
    }

    pub(super) fn make(&mut self, limits: Option<&Limits>) -> Result<(), CgroupError> {
        for directory in self.kernel.directories() {
            fs::create_dir(directory).map_err(CgroupError::file("making control group", directory))?;
        }
        self.kernel.prepare()?;
        if let Some(limits) = limits {
            #[cfg(weakened)]
            let limits = &crate::defence::weakened::limits(limits);
            self.kernel.set_limits(limits)?;
            self.memory_alarm = self.kernel.open_memory_alarm()?;
        }
        self.freezer = Some(self.kernel.open_freezer()?);
        self.open_entrance()
    }

    /// Opens what ending a group takes, as far as it is there.
    pub(super) fn open_existing(&mut self) -> Result<(), CgroupError> {
        self.freezer = match self.kernel.open_freezer() {
            Ok(freezer) => Some(freezer),
            Err(error) if error.is_gone() => None,
            Err(error) => return Err(error),
        };
        Ok(())
    }

    /// The group's path below the top of each hierarchy: `/dormouse-<id>/<replica>`.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What tells of its limits and its use, each with its controllers where it has only some: on v1.
    pub(crate) fn shown(&self) -> Vec<(Vec<&'static str>, &Path)> {
        self.kernel.shown()
    }

    /// The name of the group of what runs outside the container where that is below one that is shown: on v2, once it
    /// was made.
    pub(crate) fn outside_within_shown(&self) -> Option<OsString> {
        let outside = self.kernel.outside().filter(|outside| outside.exists())?;
        let is_within = self.kernel.shown().iter().any(|(_, shown)| outside.parent() == Some(shown));
        outside.file_name().filter(|_| is_within).map(OsString::from)
    }

    /// Moves the calling process, which must have one thread only, into the group. It goes through
    /// descriptors opened when the group was made, and by `0`, not by pid: moving another process
    /// waits for a grace period of the kernel's, 15 ms and more on v1.
    ///
    /// # Errors
    /// After [`Self::close_entrance`], on a group that was not made by this daemon, or where the
    /// kernel refuses.
    pub fn join_self(&self) -> Result<(), CgroupError> {
        if self.entrances.is_empty() {
            return Err(CgroupError::EntranceClosed(self.path.clone()));
        }
        self.entrances
            .iter()
            .try_for_each(|mut entrance| entrance.write_all(b"0"))
            .map_err(CgroupError::file("joining control group", &self.path))
    }

    /// The descriptors that [`Self::join_self`] writes to, for a child to keep.
    pub fn entrances(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.entrances.iter().map(AsFd::as_fd)
    }

    /// Opens what [`Self::join_self`] takes, where it was given back.
    ///
    /// # Errors
    /// Where the group is gone.
    pub fn open_entrance(&mut self) -> Result<(), CgroupError> {
        self.entrances = self.kernel.entrances().iter().map(|path| interface::open(path)).collect::<Result<_, _>>()?;
        Ok(())
    }

    /// Gives back the descriptors of [`Self::join_self`], once the child that uses them is forked.
    pub fn close_entrance(&mut self) {
        self.entrances.clear();
    }

    /// Changes the limits of running processes.
    ///
    /// # Errors
    /// Where the kernel refuses one, as a memory limit below what cannot be reclaimed on v1.
    pub fn set_limits(&self, limits: &Limits) -> Result<(), CgroupError> {
        self.kernel.set_limits(limits)
    }

    /// Tells every process to stop where it is; does not wait until they have.
    ///
    /// # Errors
    /// Where the group is gone.
    pub fn freeze(&self) -> Result<(), CgroupError> {
        self.freezer.as_ref().ok_or_else(|| CgroupError::NoFreezer(self.path.clone()))?.freeze()
    }

    /// Lets every process go on.
    ///
    /// # Errors
    /// Where the group is gone.
    pub fn thaw(&self) -> Result<(), CgroupError> {
        self.freezer.as_ref().ok_or_else(|| CgroupError::NoFreezer(self.path.clone()))?.thaw()
    }

    /// How far freezing has come.
    ///
    /// # Errors
    /// Where the group is gone.
    pub fn freezer_state(&self) -> Result<FreezerState, CgroupError> {
        self.kernel.freezer_state()
    }

    /// Sends SIGKILL to every process, then thaws: on v1 a frozen process does not die of it before.
    /// A group that is gone is fine.
    ///
    /// # Errors
    /// Where a process cannot be killed, or new ones appear faster than they are.
    pub fn kill(&self) -> Result<(), CgroupError> {
        let killed = match self.kernel.kill_at_once() {
            Ok(false) => kill::every_process(|| self.processes()),
            other => other.map(drop),
        };
        // Whoever is killed dies only then, also where others could not be.
        let thawed = match self.freezer.as_ref().map(Freezer::thaw) {
            Some(Err(error)) if !error.is_gone() => Err(error),
            _ => Ok(()),
        };
        killed.and(thawed)
    }

    /// The processes in any part of the group, as this process numbers them.
    ///
    /// # Errors
    /// Where a list cannot be read; a part that is not there has none.
    pub fn processes(&self) -> Result<Vec<i32>, CgroupError> {
        let mut processes = BTreeSet::new();
        let directories = self.kernel.directories().iter().map(PathBuf::as_path);
        for directory in directories.chain(self.kernel.outside()) {
            processes.extend(interface::processes(directory)?);
        }
        Ok(processes.into_iter().collect())
    }

    /// The one process in the group, where there is one; looked for in one part of it.
    ///
    /// # Errors
    /// Where the list cannot be read.
    pub fn only_process(&self) -> Result<Option<i32>, CgroupError> {
        let Some(directory) = self.kernel.directories().first() else { return Ok(None) };
        match interface::processes(directory)?.as_slice() {
            [process] => Ok(Some(*process)),
            _ => Ok(None),
        }
    }

    /// Asks every process in the group to end. Their numbers are theirs until their parent has waited for
    /// them, which it must not do before it is told to.
    ///
    /// # Errors
    /// Where the list cannot be read.
    pub fn terminate(&self) -> Result<(), CgroupError> {
        for process in self.processes()? {
            // One that has ended needs no asking.
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(process), nix::sys::signal::Signal::SIGTERM);
        }
        Ok(())
    }

    /// How often the kernel killed a process for exceeding the memory limit. Not a number of
    /// processes: where v2 kills the whole group, it counts the first one twice.
    ///
    /// # Errors
    /// Where the group is gone.
    pub fn out_of_memory_kills(&self) -> Result<u64, CgroupError> {
        self.kernel.out_of_memory_kills()
    }

    /// Goes off when the group has run out of memory, where somebody has to see to the processes that
    /// the kernel left alive: it kills one, and a replica that lost one of several is of no use.
    #[must_use]
    pub fn memory_alarm(&self) -> Option<&MemoryAlarm> {
        self.memory_alarm.as_ref()
    }

    /// Before the group is removed, which would set it off.
    pub fn close_memory_alarm(&mut self) {
        self.memory_alarm = None;
    }

    /// How often the kernel refused a process or thread beyond the limit.
    ///
    /// # Errors
    /// Where the group is gone.
    pub fn process_refusals(&self) -> Result<u64, CgroupError> {
        self.kernel.process_refusals()
    }

    /// What the group uses now.
    ///
    /// # Errors
    /// Where the group is gone.
    pub fn statistics(&self) -> Result<Statistics, CgroupError> {
        self.kernel.statistics()
    }

    /// Denies every device but those of `rules`, and asks the kernel whether that is now so. Files
    /// that are already open stay open.
    ///
    /// # Errors
    /// Where the kernel does not enforce exactly this; the group must not be used then.
    pub fn set_device_policy(&self, rules: &[DeviceRule]) -> Result<(), CgroupError> {
        Ok(self.kernel.set_device_policy(rules)?)
    }

    /// Makes the group of what belongs to the replica and runs outside its container. Whoever is in it is in this one
    /// too, as far as that limits anything: on v1 it joins that first.
    ///
    /// # Errors
    /// Where the hierarchy of v2 is not mounted.
    pub fn make_outside(&self) -> Result<PathBuf, CgroupError> {
        let outside = self.kernel.outside().ok_or(CgroupError::NoUnified)?;
        // One that was removed meanwhile does not come back by this.
        let directories = self.kernel.directories().iter();
        for directory in directories {
            fs::metadata(directory).map_err(CgroupError::file("looking at control group", directory))?;
        }
        fs::create_dir_all(outside).map_err(CgroupError::file("making control group", outside))?;
        Ok(outside.to_owned())
    }

    /// Tries once to remove the group.
    ///
    /// # Errors
    /// Where a part cannot be removed for a reason other than processes in it.
    pub fn remove(&self) -> Result<Removal, CgroupError> {
        let mut removal = Removal::Removed;
        let directories = self.kernel.directories().iter().map(PathBuf::as_path);
        for directory in self.kernel.outside().into_iter().chain(directories) {
            match fs::remove_dir(directory) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => removal = Removal::Busy,
                Err(error) => return Err(CgroupError::file("removing control group", directory)(error)),
            }
        }
        Ok(removal)
    }
}

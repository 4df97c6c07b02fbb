use std::{
    fs::File,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::event::{EventfdFlags, eventfd};

use super::{CgroupError, interface};

/// Becomes readable when a v1 group, or one above it, has run out of memory. The kernel is then
/// about to kill one process, or has done so: the counter tells whether it was of this group.
///
/// v2 kills a group as a whole and needs none.
#[derive(Debug)]
pub struct MemoryAlarm(OwnedFd);

impl MemoryAlarm {
    pub(super) fn open(group: &Path) -> Result<Self, CgroupError> {
        let control = group.join("memory.oom_control");
        let watched = File::open(&control).map_err(CgroupError::file("opening", &control))?;
        let alarm = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|error| CgroupError::file("making an alarm for", &control)(error.into()))?;
        let watch = format!("{} {}", alarm.as_raw_fd(), watched.as_raw_fd());
        interface::write(&group.join("cgroup.event_control"), &watch)?;
        Ok(Self(alarm))
    }

    /// Waits for the next alarm from here on.
    pub(crate) fn reset(&self) {
        // One that did not go off has nothing to read.
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }
}

impl AsFd for MemoryAlarm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

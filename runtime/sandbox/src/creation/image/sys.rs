//! What programs of a container can read in /sys: what they may count on, by which the JVM, Go and .NET choose how many
//! threads and how much memory to use; and which processors there are, without which libraries of inference on Arm do not
//! begin.

use std::{
    ffi::OsString,
    fs, io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::symlink,
    },
    path::{Path, PathBuf},
};

use libcontainer::oci_spec::runtime::Mount;
use rustix::fs::{Mode, OFlags};

use super::{
    super::{CreationError, Scratch, failed},
    furniture, layers,
};
use crate::{cgroup::ReplicaGroup, oci};

const SYS: &str = "/sys";
/// Where programs look for the replica's own control group, below /sys.
const GROUP: &str = "fs/cgroup";
/// The processors, below /sys: on the host as well.
const PROCESSORS: &str = "devices/system/cpu";
const READING: [&str; 5] = ["bind", "ro", "nosuid", "nodev", "noexec"];

/// What covers what is not for the container to see.
const COVER: [&str; 6] = ["ro", "nosuid", "nodev", "noexec", "mode=555", "size=4k"];

pub(super) struct Sys {
    /// Mounts of directories, attached nowhere, which nobody can write to. A mount shows nothing above its root.
    shown: Vec<Shown>,
    /// What is below its own group there, and belongs to what runs outside the container.
    covered: Option<OsString>,
}

struct Shown {
    /// Below /sys.
    at: PathBuf,
    /// What else it is called there.
    names: Vec<&'static str>,
    tree: OwnedFd,
}

impl Sys {
    /// While they can be seen: of control groups the replica's own, as every distribution has it.
    pub(super) fn open(group: &ReplicaGroup) -> Result<Self, CreationError> {
        let mut shown = Vec::new();
        for (controllers, directory) in group.shown() {
            let (at, names) = match controllers.as_slice() {
                [] => (GROUP.into(), Vec::new()),
                [only] => (Path::new(GROUP).join(only), Vec::new()),
                together => (Path::new(GROUP).join(together.join(",")), controllers),
            };
            let tree = open(directory).map_err(failed("mounting", directory))?;
            shown.push(Shown { at, names, tree });
        }
        let processors = Path::new(SYS).join(PROCESSORS);
        match open(&processors) {
            Ok(tree) => shown.push(Shown { at: PROCESSORS.into(), names: Vec::new(), tree }),
            // The host does not know them either.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("mounting", &processors)(error)),
        }
        Ok(Self { shown, covered: group.outside_within_shown() })
    }

    /// Makes the places of these mounts among the others of the container. Of controllers that are together each is
    /// found by its own name too.
    pub(super) fn furnish(&self, furniture: &Path, owner: u32) -> Result<(), CreationError> {
        let sys = furniture.join(SYS.trim_start_matches('/'));
        for shown in &self.shown {
            let mut place = sys.clone();
            for part in &shown.at {
                place.push(part);
                if !place.exists() {
                    fs::create_dir(&place).map_err(failed("making", &place))?;
                    furniture::give(&place, 0o555, owner)?;
                }
            }
            for link in shown.names.iter().map(|name| place.with_file_name(name)) {
                symlink(place.file_name().unwrap_or_default(), &link).map_err(failed("making", &link))?;
            }
        }
        Ok(())
    }

    /// Attaches them where libcontainer finds them, which is to bind them to their places.
    pub(super) fn place(self, scratch: &Scratch<'_>) -> Result<Vec<Mount>, CreationError> {
        let place = |(index, shown): (usize, Shown)| {
            let from = scratch.path(&format!("s{index}"));
            fs::create_dir(&from).map_err(failed("making", &from))?;
            layers::attach(&shown.tree, &from).map_err(failed("attaching a part of /sys at", &from))?;
            let at = Path::new(SYS).join(shown.at);
            oci::mount(&at.to_string_lossy(), "bind", &from, &READING).map_err(CreationError::from)
        };
        let cover = |name: OsString| {
            let at = Path::new(SYS).join(GROUP).join(name);
            oci::mount(&at.to_string_lossy(), "tmpfs", Path::new("tmpfs"), &COVER).map_err(CreationError::from)
        };
        self.shown.into_iter().enumerate().map(place).chain(self.covered.map(cover)).collect()
    }
}

fn open(directory: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(directory, flags, Mode::empty())?;
    layers::clone(opened.as_fd(), None)
}

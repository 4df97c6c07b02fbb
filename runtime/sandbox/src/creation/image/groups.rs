//! The replica's own control group as its programs see it: to read what they may count on, as the JVM, Go and .NET do
//! when they choose how many threads and how much memory to use.

use std::{
    ffi::OsString,
    fs,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::symlink,
    },
    path::Path,
};

use libcontainer::oci_spec::runtime::Mount;
use rustix::fs::{Mode, OFlags};

use super::{
    super::{CreationError, Scratch, failed},
    furniture, layers,
};
use crate::{cgroup::ReplicaGroup, oci};

/// Where programs look for them.
const PLACE: &str = "sys/fs/cgroup";
const READING: [&str; 5] = ["bind", "ro", "nosuid", "nodev", "noexec"];

/// What covers what is not for the container to see.
const COVER: [&str; 6] = ["ro", "nosuid", "nodev", "noexec", "mode=555", "size=4k"];

pub(super) struct Groups {
    /// Mounts of its directories, attached nowhere, which nobody can write to. A mount shows nothing above its root.
    shown: Vec<Shown>,
    /// What is below it there, and belongs to what runs outside the container.
    covered: Option<OsString>,
}

struct Shown {
    /// Where it has only some, and is below [`PLACE`].
    controllers: Vec<&'static str>,
    tree: OwnedFd,
}

impl Shown {
    /// Below [`PLACE`], as every distribution has it.
    fn name(&self) -> String {
        self.controllers.join(",")
    }
}

impl Groups {
    /// While control groups can be seen.
    pub(super) fn open(group: &ReplicaGroup) -> Result<Self, CreationError> {
        let open = |(controllers, directory): (Vec<&'static str>, &Path)| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let opened = rustix::fs::open(directory, flags, Mode::empty()).map_err(failed("opening", directory))?;
            let tree = layers::clone(opened.as_fd(), None).map_err(failed("mounting", directory))?;
            Ok(Shown { controllers, tree })
        };
        let shown = group.shown().into_iter().map(open).collect::<Result<_, CreationError>>()?;
        Ok(Self { shown, covered: group.outside_within_shown() })
    }

    /// Makes the places of these mounts among the others of the container. Of controllers that are together each is
    /// found by its own name too.
    pub(super) fn furnish(&self, furniture: &Path, owner: u32) -> Result<(), CreationError> {
        let make = |path: &Path| {
            fs::create_dir(path).map_err(failed("making", path))?;
            furniture::give(path, 0o555, owner)
        };
        let place = furniture.join(PLACE);
        for directory in [place.parent().unwrap_or(&place), &place] {
            make(directory)?;
        }
        for shown in self.shown.iter().filter(|shown| !shown.controllers.is_empty()) {
            make(&place.join(shown.name()))?;
            let together = shown.controllers.iter().filter(|_| shown.controllers.len() > 1);
            for link in together.map(|controller| place.join(controller)) {
                symlink(shown.name(), &link).map_err(failed("making", &link))?;
            }
        }
        Ok(())
    }

    /// Attaches them where libcontainer finds them, which is to bind them to their places.
    pub(super) fn place(self, scratch: &Scratch<'_>) -> Result<Vec<Mount>, CreationError> {
        let place = |(index, shown): (usize, Shown)| {
            let from = scratch.path(&format!("g{index}"));
            fs::create_dir(&from).map_err(failed("making", &from))?;
            layers::attach(&shown.tree, &from).map_err(failed("attaching the control group at", &from))?;
            let at = Path::new("/").join(PLACE).join(shown.name());
            oci::mount(&at.to_string_lossy(), "bind", &from, &READING).map_err(CreationError::from)
        };
        let cover = |name: OsString| {
            let at = Path::new("/").join(PLACE).join(name);
            oci::mount(&at.to_string_lossy(), "tmpfs", Path::new("tmpfs"), &COVER).map_err(CreationError::from)
        };
        self.shown.into_iter().enumerate().map(place).chain(self.covered.map(cover)).collect()
    }
}

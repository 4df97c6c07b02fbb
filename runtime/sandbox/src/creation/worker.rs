//! The container of a worker: the root that all share, and its model.

use std::{os::fd::OwnedFd, path::Path};

use dormouse_spec::Digest;
use nix::mount::{MsFlags, mount};
use rustix::{
    fs::{Mode, OFlags, ResolveFlags},
    mount::{MoveMountFlags, OpenTreeFlags},
};
use std::os::fd::AsFd;

use super::{Creation, CreationError, Made, Scratch, failed};
#[cfg(weakened)]
use crate::defence::Defence;
use crate::{
    oci::{self, Confinement, worker},
    payload::Payload,
    userns,
    verification::Expected,
};

/// What a worker's container is made of; the spawner derived all of it.
#[derive(Debug)]
pub(crate) struct WorkerContents<'a> {
    /// The model store, a directory that only root can exchange for another.
    pub(crate) store: &'a Path,
    /// What is mounted as its model, if anything is.
    pub(crate) model: Option<&'a Digest>,
    pub(crate) setup_uid: u32,
    pub(crate) uid: u32,
    /// The worker's end of its control channel; becomes its standard input.
    pub(crate) control: OwnedFd,
}

impl WorkerContents<'_> {
    pub(super) fn make(self, creation: &Creation<'_>, scratch: &Scratch<'_>) -> Result<Made, CreationError> {
        let model = scratch.path("model");
        if let Some(digest) = self.model {
            std::fs::create_dir(&model).map_err(failed("making", &model))?;
            attach_model(self.store, digest, &model)?;
        }
        let user_namespace = userns::of_container(self.setup_uid, self.uid)
            .map_err(failed("making the user namespace of", Path::new(creation.name)))?;
        let confinement = Confinement {
            root: creation.rootfs.root(),
            is_root_read_only: true,
            hostname: worker::HOSTNAME,
            cgroup: creation.group.path(),
            running: oci::worker::running()?,
            mounts: oci::worker::mounts(creation.tmp_bytes, self.model.is_some().then_some(model.as_path()))?,
            makes_network: true,
            user_namespace: user_namespace.as_fd(),
            seccomp: creation.seccomp.clone(),
        };
        let spec = confinement.spec()?;
        Ok(Made {
            payload: Payload::default(),
            spec,
            stdin: self.control,
            user_namespace,
            expected: Expected::worker(self.uid),
            network: None,
            helper: None,
        })
    }
}

/// By descriptor: between the check and the mount there is no name that anybody could exchange.
/// The node owns what is in the store and could put a link there, so none is followed. Opened
/// here, because the kernel clones only mounts of the caller's own namespace.
fn attach_model(store: &Path, model: &Digest, place: &Path) -> Result<(), CreationError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let name = model.directory_name();
    #[cfg(weakened)]
    if !Defence::MountsByDescriptor.stands() {
        return crate::defence::weakened::bind_by_path(&store.join(&name), place).map_err(failed("binding", place));
    }
    let opened = rustix::fs::open(store, flags, Mode::empty())
        .and_then(|store| rustix::fs::openat2(&store, &name, flags, Mode::empty(), beneath))
        .map_err(failed("opening the stored model", &store.join(&name)))?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = rustix::mount::open_tree(&opened, "", flags).map_err(failed("cloning the mount of", place))?;
    let from_descriptor = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(tree.as_fd(), "", rustix::fs::CWD, place, from_descriptor)
        .map_err(failed("attaching the model at", place))?;
    let read_only = MsFlags::MS_REMOUNT
        | MsFlags::MS_BIND
        | MsFlags::MS_RDONLY
        | MsFlags::MS_NOSUID
        | MsFlags::MS_NODEV
        | MsFlags::MS_NOEXEC;
    mount(None::<&str>, place, None::<&str>, read_only, None::<&str>).map_err(failed("making read-only", place))
}

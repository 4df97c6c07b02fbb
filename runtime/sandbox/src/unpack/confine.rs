//! The process that reads a layer, and all that is taken from it before it does.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use libcontainer::oci_spec::runtime::LinuxSeccomp;
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
    unistd::{Gid, Uid, chdir, dup2_stderr, dup2_stdin, dup2_stdout, pivot_root, setgroups, setresgid, setresuid},
};
use rustix::{
    fs::{Mode, OFlags},
    process::{Pid, Resource, Rlimit, setrlimit},
    thread::{CapabilitySet, CapabilitySets},
};

use super::fill;
use crate::{
    defence::Defence,
    error_chain,
    messages::Compression,
    oci::NO_CORE_DUMP,
    spawner::{close_all_but, fork_child},
    uids::ImageIds,
    userns,
};

/// The tree, a directory or two of it, one file, the blob and the way to say how it went: a few times as many.
const DESCRIPTORS_MAX: u64 = 64;
/// What changing files of any owner takes, and nothing else. A whiteout is a device node that needs none.
const CAPABILITIES: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::SETFCAP);

/// Why the process does not begin to read.
#[derive(Debug, thiserror::Error)]
enum ConfineError {
    #[error("{operation} failed")]
    Io {
        operation: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("loading the system call filter failed")]
    Seccomp(#[source] Box<libcontainer::seccomp::SeccompError>),
}

/// What the process is given.
#[derive(Debug)]
pub(super) struct Filling<'a> {
    pub(super) tree: &'a Path,
    pub(super) ids: ImageIds,
    pub(super) seccomp: &'a LinuxSeccomp,
    pub(super) blob: OwnedFd,
    pub(super) words: OwnedFd,
    pub(super) compression: Compression,
    pub(super) bytes_max: u64,
}

/// Nothing of this process and its children is to be read, and nothing they print is an answer.
pub(super) fn give_up_streams() -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    Ok(dup2_stderr(&null)?)
}

impl Filling<'_> {
    /// The child says how it went by its socket. It is the first process of its pid namespace.
    pub(super) fn fork(self) -> io::Result<Pid> {
        let user_namespace = userns::of_images(self.ids)?;
        unshare(CloneFlags::CLONE_NEWPID)?;
        let keep = [self.blob.as_raw_fd(), self.words.as_raw_fd(), user_namespace.as_raw_fd()];
        let child = fork_child(&keep, || self.run(&user_namespace))?;
        Pid::from_raw(child.as_raw()).ok_or_else(|| io::Error::other("the child has no number"))
    }

    fn run(self, user_namespace: &OwnedFd) -> i32 {
        let Self { compression, bytes_max, .. } = self;
        let root = match self.confine(user_namespace) {
            Ok(root) => root,
            Err(error) => return i32::from(!fill::tell(&self.words, Err(error_chain::one_line(&error)))),
        };
        let Self { blob, words, .. } = self;
        let filled = catch_unwind(AssertUnwindSafe(|| fill::fill(root, blob, compression, bytes_max, words.as_fd())));
        let result = match filled {
            Ok(result) => result.map_err(|error| error_chain::one_line(&error)),
            Err(_) => Err("unpacking ended in a fault of its own; the layer may be damaged".to_owned()),
        };
        i32::from(!fill::tell(&words, result))
    }

    /// The order matters: mounts need the rights of the host's root, then those go, then the filter closes
    /// the way to all of these calls.
    fn confine(&self, user_namespace: &OwnedFd) -> Result<OwnedFd, ConfineError> {
        let namespaces = CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWNET
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWCGROUP;
        unshare(namespaces).map_err(failed("leaving the host's namespaces"))?;
        let root = self.enter_tree()?;
        let keep = [self.blob.as_raw_fd(), self.words.as_raw_fd(), user_namespace.as_raw_fd(), root.as_raw_fd()];
        close_all_but(&keep).map_err(failed("closing descriptors"))?;
        let limit = |resource, most| setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) });
        limit(Resource::Nofile, DESCRIPTORS_MAX).map_err(failed("limiting descriptors"))?;
        // Where the reader itself does not look at them.
        if Defence::UnpackBytesLimit.stands() {
            limit(Resource::Fsize, self.bytes_max).map_err(failed("limiting files"))?;
        }
        limit(Resource::Core, NO_CORE_DUMP).map_err(failed("limiting core dumps"))?;
        if Defence::UnpackIdsMapped.stands() {
            become_root_of_images(user_namespace)?;
        }
        close_all_but(&[self.blob.as_raw_fd(), self.words.as_raw_fd(), root.as_raw_fd()])
            .map_err(failed("closing descriptors"))?;
        rustix::thread::set_no_new_privs(true).map_err(failed("giving up new privileges"))?;
        if Defence::SystemCallFilter.stands() {
            libcontainer::seccomp::initialize_seccomp(self.seccomp)
                .map_err(|error| ConfineError::Seccomp(Box::new(error)))?;
        }
        Ok(root)
    }

    /// Makes the tree the root of all that can be named. Nothing else is mounted there.
    fn enter_tree(&self) -> Result<OwnedFd, ConfineError> {
        let open = |path: &Path| {
            rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                .map_err(failed("opening the tree"))
        };
        if !Defence::UnpackRoot.stands() {
            return open(self.tree);
        }
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
            .map_err(failed("keeping mounts private"))?;
        mount(Some(self.tree), self.tree, none, MsFlags::MS_BIND, none).map_err(failed("mounting the tree"))?;
        let options = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(none, self.tree, none, MsFlags::MS_REMOUNT | MsFlags::MS_BIND | options, none)
            .map_err(failed("restricting the tree"))?;
        chdir(self.tree).map_err(failed("entering the tree"))?;
        // The old root lies over the new one until it is taken off.
        pivot_root(".", ".").map_err(failed("making the tree the root"))?;
        umount2(".", MntFlags::MNT_DETACH).map_err(failed("unmounting the host's root"))?;
        chdir("/").map_err(failed("entering the root"))?;
        open(Path::new("/"))
    }
}

/// Root of the images' ids, and of them only: every right here is over files whose owner is one of them.
fn become_root_of_images(user_namespace: &OwnedFd) -> Result<(), ConfineError> {
    setgroups(&[]).map_err(failed("leaving groups"))?;
    setns(user_namespace, CloneFlags::CLONE_NEWUSER).map_err(failed("entering the user namespace"))?;
    let (uid, gid) = (Uid::from_raw(0), Gid::from_raw(0));
    setresgid(gid, gid, gid).map_err(failed("changing the group"))?;
    setresuid(uid, uid, uid).map_err(failed("changing the user"))?;
    let kept = CapabilitySets { effective: CAPABILITIES, permitted: CAPABILITIES, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, kept).map_err(failed("giving up capabilities"))
}

fn failed<E: Into<io::Error>>(operation: &'static str) -> impl FnOnce(E) -> ConfineError {
    move |source| ConfineError::Io { operation, source: source.into() }
}

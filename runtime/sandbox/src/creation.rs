//! The short-lived child that makes one container and then ends.
//!
//! libcontainer allocates after clone, changes the working directory and waits for its own
//! children; none of that may happen in the spawner. The child is forked from a process with one
//! thread, so everything it inherited is in a known state. All it mounts is in a mount namespace of
//! its own and disappears with it.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    time::Instant,
};

use dormouse_spec::Digest;
use libcontainer::{
    container::builder::ContainerBuilder,
    oci_spec::{
        OciSpecError,
        runtime::{LinuxSeccomp, Spec},
    },
    syscall::syscall::SyscallType,
};
use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
};
use rustix::{
    fs::{Mode, OFlags, ResolveFlags},
    mount::{MoveMountFlags, OpenTreeFlags},
};
use serde::{Deserialize, Serialize};

use crate::{
    cgroup::{CgroupError, ReplicaGroup},
    defence::Defence,
    devices::WORKER_DEVICES,
    error_chain,
    messages::CreatePhases,
    oci::Confinement,
    payload::Payload,
    rootfs::Rootfs,
    userns,
    verification::{self, VerificationError},
};

/// A report is one write to a pipe, which the kernel keeps whole up to this size. A failure's text
/// may double when it is quoted.
pub(crate) const REPORT_BYTES_MAX: usize = 4_096;

/// Where libcontainer looks for control groups.
const CONTROL_GROUPS: &str = "/sys/fs/cgroup";

/// What the child tells before it ends.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Report {
    Created { pid: i32, phases: CreatePhases },
    Failed { reason: String },
}

/// Everything the child needs; the spawner derived all of it.
#[derive(Debug)]
pub(crate) struct Creation<'a> {
    pub(crate) name: &'a str,
    pub(crate) rootfs: &'a Rootfs,
    pub(crate) group: &'a ReplicaGroup,
    /// The model store, a directory that only root can exchange for another.
    pub(crate) store: &'a Path,
    /// What is mounted as its model, if anything is.
    pub(crate) model: Option<&'a Digest>,
    pub(crate) tmp_bytes: u64,
    pub(crate) setup_uid: u32,
    pub(crate) uid: u32,
    pub(crate) seccomp: &'a LinuxSeccomp,
    /// The worker's end of its control channel; becomes its standard input.
    pub(crate) control: OwnedFd,
    /// The writing end of its log; becomes its standard output and error.
    pub(crate) log: OwnedFd,
    pub(crate) report: OwnedFd,
    pub(crate) requested: Instant,
}

#[derive(Debug, thiserror::Error)]
enum CreationError {
    #[error("joining the control group failed")]
    Cgroup(#[from] CgroupError),
    #[error("{operation} `{path}` failed")]
    Io {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the OCI configuration cannot be expressed")]
    Spec(#[from] OciSpecError),
    #[error("libcontainer could not {operation} the container")]
    Container {
        operation: &'static str,
        #[source]
        source: Box<libcontainer::error::LibcontainerError>,
    },
    #[error("libcontainer created no process")]
    NoProcess,
    #[error(transparent)]
    Unconfined(#[from] VerificationError),
}

impl Creation<'_> {
    /// Makes the container and reports. Runs in the forked child, which ends right after.
    pub(crate) fn run(self) {
        // libcontainer logs every failure at each level it passes; ours are reported once.
        let silent = tracing::subscriber::NoSubscriber::default();
        let mut pipe = match self.report.try_clone() {
            Ok(report) => File::from(report),
            Err(_) => return,
        };
        let report = match tracing::subscriber::with_default(silent, || self.create()) {
            Ok(report) => report,
            Err(error) => Report::Failed { reason: error_chain::one_line(&error) },
        };
        if let Ok(bytes) = serde_json::to_vec(&report) {
            // Nobody is left to tell where this fails: the spawner sees the pipe end without a report.
            let _ = pipe.write_all(&bytes);
        }
    }

    /// In this order: the group and its device policy first, so that they hold for all that follows and
    /// before the hierarchies are out of sight; then libcontainer; then a look at what the kernel says of
    /// it all; the payload last.
    fn create(self) -> Result<Report, CreationError> {
        let begun = Instant::now();
        self.group.join_self()?;
        if Defence::DevicePolicy.stands() {
            self.group.set_device_policy(&WORKER_DEVICES)?;
        }
        let joined = Instant::now();
        let scratch = Scratch::mount(self.rootfs.scratch())?;
        if Defence::NoHostSysfs.stands() {
            hide_control_groups()?;
        }
        if let Some(model) = self.model {
            scratch.attach_model(self.store, model)?;
        }
        let user_namespace = userns::of_container(self.setup_uid, self.uid)
            .map_err(failed("making the user namespace of", Path::new(self.name)))?;
        let confinement = Confinement {
            root: self.rootfs.root(),
            model: self.model.is_some().then_some(scratch.model.as_path()),
            cgroup: self.group.path(),
            tmp_bytes: self.tmp_bytes,
            user_namespace: user_namespace.as_fd(),
            seccomp: self.seccomp.clone(),
        };
        scratch.write_bundle(&confinement.spec()?)?;
        let stderr = self.log.try_clone().map_err(failed("duplicating the log of", Path::new(self.name)))?;
        let container = |operation| move |source| CreationError::Container { operation, source: Box::new(source) };
        let mut created = ContainerBuilder::new(self.name.to_owned(), SyscallType::default())
            .with_executor(Payload)
            .with_root_path(&scratch.state)
            .map_err(container("prepare"))?
            .with_stdin(self.control)
            .with_stdout(self.log)
            .with_stderr(stderr)
            .as_init(&scratch.bundle)
            .with_systemd(false)
            .with_detach(true)
            .build()
            .map_err(container("create"))?;
        let pid = created.pid().ok_or(CreationError::NoProcess)?.as_raw();
        let built = Instant::now();
        verification::of_container(pid, self.uid)?;
        created.start().map_err(container("start"))?;
        let phases = CreatePhases {
            fork_us: micros(self.requested, begun),
            cgroup_us: micros(begun, joined),
            container_us: micros(joined, built),
            release_us: micros(built, Instant::now()),
        };
        Ok(Report::Created { pid, phases })
    }
}

/// Leaves libcontainer no control group to find. It moves its processes by pid into the group that
/// they are born in, which on v1 waits for a grace period of the kernel's, 14 ms of a creation's 22.
/// It adds rules of its own to the device policy, too. Where no hierarchy is mounted it does neither;
/// this process is in its group already.
fn hide_control_groups() -> Result<(), CreationError> {
    let place = Path::new(CONTROL_GROUPS);
    match umount2(place, MntFlags::MNT_DETACH) {
        // They are mounted elsewhere, and are attached to as slowly as ever.
        Ok(()) | Err(Errno::EINVAL) => {}
        Err(error) => return Err(failed("unmounting", place)(error)),
    }
    let options = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_RDONLY;
    mount(Some("dormouse"), place, Some("tmpfs"), options, Some("mode=0555,nr_inodes=1"))
        .map_err(failed("mounting a tmpfs on", place))
}

/// A tmpfs over the empty scratch directory, in this child's own mount namespace.
struct Scratch {
    bundle: PathBuf,
    state: PathBuf,
    model: PathBuf,
}

impl Scratch {
    fn mount(place: &Path) -> Result<Self, CreationError> {
        unshare(CloneFlags::CLONE_NEWNS).map_err(failed("leaving the mount namespace for", place))?;
        let options = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("dormouse"), place, Some("tmpfs"), options, Some("mode=0755,size=1m"))
            .map_err(failed("mounting a tmpfs on", place))?;
        let scratch = Self { bundle: place.join("bundle"), state: place.join("state"), model: place.join("model") };
        for directory in [&scratch.bundle, &scratch.state, &scratch.model] {
            std::fs::create_dir(directory).map_err(failed("making", directory))?;
        }
        Ok(scratch)
    }

    /// By descriptor: between the check and the mount there is no name that anybody could exchange.
    /// The node owns what is in the store and could put a link there, so none is followed. Opened
    /// here, because the kernel clones only mounts of the caller's own namespace.
    fn attach_model(&self, store: &Path, model: &Digest) -> Result<(), CreationError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let name = model.directory_name();
        #[cfg(weakened)]
        if !Defence::MountsByDescriptor.stands() {
            return crate::defence::weakened::bind_by_path(&store.join(&name), &self.model)
                .map_err(failed("binding", &self.model));
        }
        let opened = rustix::fs::open(store, flags, Mode::empty())
            .and_then(|store| rustix::fs::openat2(&store, &name, flags, Mode::empty(), beneath))
            .map_err(failed("opening the stored model", &store.join(&name)))?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
        let tree = rustix::mount::open_tree(&opened, "", flags).map_err(failed("cloning the mount of", &self.model))?;
        let from_descriptor = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        rustix::mount::move_mount(tree.as_fd(), "", rustix::fs::CWD, &self.model, from_descriptor)
            .map_err(failed("attaching the model at", &self.model))?;
        let read_only = MsFlags::MS_REMOUNT
            | MsFlags::MS_BIND
            | MsFlags::MS_RDONLY
            | MsFlags::MS_NOSUID
            | MsFlags::MS_NODEV
            | MsFlags::MS_NOEXEC;
        mount(None::<&str>, &self.model, None::<&str>, read_only, None::<&str>)
            .map_err(failed("making read-only", &self.model))
    }

    fn write_bundle(&self, spec: &Spec) -> Result<(), CreationError> {
        Ok(spec.save(self.bundle.join("config.json"))?)
    }
}

fn failed<E: Into<io::Error>>(operation: &'static str, path: &Path) -> impl FnOnce(E) -> CreationError {
    let path = path.to_owned();
    move |source| CreationError::Io { operation, path, source: source.into() }
}

fn micros(from: Instant, to: Instant) -> u64 {
    u64::try_from(to.saturating_duration_since(from).as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_longest_report_is_one_write() {
        let reason = error_chain::one_line(&CreationError::Io {
            operation: "reading",
            path: "\u{1}\"\\".repeat(10_000).into(),
            source: io::Error::other("no"),
        });
        let bytes = serde_json::to_vec(&Report::Failed { reason }).unwrap();
        assert!(bytes.len() <= REPORT_BYTES_MAX, "{}", bytes.len());
    }
}

//! The short-lived child that makes one container and then ends.
//!
//! libcontainer allocates after clone, changes the working directory and waits for its own
//! children; none of that may happen in the spawner. The child is forked from a process with one
//! thread, so everything it inherited is in a known state. All it mounts is in a mount namespace of
//! its own and disappears with it.

pub(crate) mod image;
mod worker;

use std::{
    fs::File,
    io::{self, Write},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    time::Instant,
};

use dormouse_spec::{Digest, MountPath};
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
use serde::{Deserialize, Serialize};

pub use self::image::LentPath;
use self::image::{Ahead, VolumeError, accounts::AccountError};
pub(crate) use self::{
    image::{ImageContents, VolumeStores},
    worker::WorkerContents,
};
use crate::{
    cgroup::{CgroupError, ReplicaGroup},
    defence::Defence,
    devices::{DeviceRule, WORKER_DEVICES},
    egress::EgressError,
    error_chain,
    messages::CreatePhases,
    payload::Payload,
    rootfs::Rootfs,
    verification::{self, Expected, VerificationError},
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
    Created {
        pid: i32,
        phases: CreatePhases,
        /// The number of the network namespace that was made for it, if one was.
        network: Option<u64>,
        /// The process that joins it to other networks.
        helper: Option<i32>,
    },
    Failed {
        reason: String,
    },
}

/// Everything the child needs; the spawner derived all of it.
#[derive(Debug)]
pub(crate) struct Creation<'a> {
    pub(crate) name: &'a str,
    pub(crate) rootfs: &'a Rootfs,
    pub(crate) group: &'a ReplicaGroup,
    pub(crate) tmp_bytes: u64,
    pub(crate) seccomp: &'a LinuxSeccomp,
    /// The writing end of its log; becomes its standard output and error.
    pub(crate) log: OwnedFd,
    pub(crate) report: OwnedFd,
    pub(crate) requested: Instant,
}

/// What is made differently for what runs in it.
#[derive(Debug)]
pub(crate) enum Contents<'a> {
    Worker(WorkerContents<'a>),
    Image(ImageContents<'a>),
}

/// The same with what had to be made first.
enum Prepared<'a> {
    Worker(WorkerContents<'a>),
    Image(ImageContents<'a>, Ahead),
}

impl<'a> Contents<'a> {
    /// And which devices may be used from then on.
    fn prepare(self, creation: &Creation<'_>) -> Result<(Prepared<'a>, Vec<DeviceRule>), CreationError> {
        match self {
            Self::Worker(worker) => Ok((Prepared::Worker(worker), WORKER_DEVICES.to_vec())),
            Self::Image(image) => {
                let (ahead, devices) = (image.prepare(creation)?, image.devices());
                Ok((Prepared::Image(image, ahead), devices))
            }
        }
    }
}

/// What is ready for libcontainer.
struct Made {
    spec: Spec,
    payload: Payload,
    stdin: OwnedFd,
    /// It stays open until the container exists.
    user_namespace: OwnedFd,
    expected: Expected,
    network: Option<u64>,
    helper: Option<i32>,
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
    #[error("layer {layer} cannot be mounted")]
    Layer {
        layer: Digest,
        #[source]
        source: io::Error,
    },
    #[error("the image's user cannot be taken")]
    Account(#[from] AccountError),
    #[error("the image's {0} is no file")]
    NotRegular(&'static str),
    #[error("the image's {0} is longer than 1 MiB")]
    LargeAccounts(&'static str),
    #[error("the working directory `{}` cannot be entered in the image", dormouse_spec::printable(path))]
    WorkingDirectory {
        path: String,
        #[source]
        source: io::Error,
    },
    #[error("the volume at {at} cannot be mounted")]
    Volume {
        at: MountPath,
        #[source]
        source: VolumeError,
    },
    #[error("nothing can be mounted at {at} in the image")]
    MountPoint {
        at: MountPath,
        #[source]
        source: io::Error,
    },
    #[error("the volume at {inner} is below that at {outer}, which is not empty: mount it elsewhere")]
    VolumeWithin { inner: MountPath, outer: MountPath },
    #[error("the volumes at {one} and {other} are both at {} in the image", dormouse_spec::printable(&place.to_string_lossy()))]
    VolumesTogether { one: MountPath, other: MountPath, place: PathBuf },
    #[error("the replica cannot reach other machines")]
    Egress(#[from] EgressError),
    #[error("the kernel made no network namespace")]
    HostNetwork,
    #[error("`{0}` is not the kernel's: it is no procfs")]
    NotProc(&'static str),
}

impl Creation<'_> {
    /// Makes the container and reports. Runs in the forked child, which ends right after.
    pub(crate) fn run(self, contents: Contents<'_>) {
        // libcontainer logs every failure at each level it passes; ours are reported once.
        let silent = tracing::subscriber::NoSubscriber::default();
        let mut pipe = match self.report.try_clone() {
            Ok(report) => File::from(report),
            Err(_) => return,
        };
        let report = match tracing::subscriber::with_default(silent, || self.create(contents)) {
            Ok(report) => report,
            Err(error) => Report::Failed { reason: error_chain::one_line(&error) },
        };
        if let Ok(bytes) = serde_json::to_vec(&report) {
            // Nobody is left to tell where this fails: the spawner sees the pipe end without a report.
            let _ = pipe.write_all(&bytes);
        }
    }

    /// In this order: what needs other devices than the payload may use; the group and its device policy, so that
    /// they hold for all that follows and before the hierarchies are out of sight; then libcontainer; then a look at
    /// what the kernel says of it all; the payload last.
    fn create(self, contents: Contents<'_>) -> Result<Report, CreationError> {
        let begun = Instant::now();
        let (contents, devices) = contents.prepare(&self)?;
        self.group.join_self()?;
        if Defence::DevicePolicy.stands() {
            self.group.set_device_policy(&devices)?;
        }
        let joined = Instant::now();
        let scratch = Scratch::mount(self.rootfs.scratch())?;
        if Defence::NoHostSysfs.stands() {
            hide_control_groups()?;
        }
        let made = match contents {
            Prepared::Worker(worker) => worker.make(&self, &scratch)?,
            Prepared::Image(image, ahead) => image.make(&self, &scratch, ahead)?,
        };
        scratch.write_bundle(&made.spec)?;
        let stderr = self.log.try_clone().map_err(failed("duplicating the log of", Path::new(self.name)))?;
        let container = |operation| move |source| CreationError::Container { operation, source: Box::new(source) };
        let mut created = ContainerBuilder::new(self.name.to_owned(), SyscallType::default())
            .with_executor(made.payload)
            .with_root_path(scratch.path(STATE))
            .map_err(container("prepare"))?
            .with_stdin(made.stdin)
            .with_stdout(self.log)
            .with_stderr(stderr)
            .as_init(scratch.path(BUNDLE))
            .with_systemd(false)
            .with_detach(true)
            .build()
            .map_err(container("create"))?;
        drop(made.user_namespace);
        let pid = created.pid().ok_or(CreationError::NoProcess)?.as_raw();
        let built = Instant::now();
        verification::of_container(pid, &made.expected)?;
        created.start().map_err(container("start"))?;
        let phases = CreatePhases {
            fork_us: micros(self.requested, begun),
            cgroup_us: micros(begun, joined),
            container_us: micros(joined, built),
            release_us: micros(built, Instant::now()),
        };
        Ok(Report::Created { pid, phases, network: made.network, helper: made.helper })
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

/// What libcontainer is given, and where it keeps what it knows of the container.
const BUNDLE: &str = "bundle";
const STATE: &str = "state";

/// A tmpfs over the empty scratch directory, in this child's own mount namespace.
struct Scratch<'a> {
    place: &'a Path,
}

impl<'a> Scratch<'a> {
    fn mount(place: &'a Path) -> Result<Self, CreationError> {
        unshare(CloneFlags::CLONE_NEWNS).map_err(failed("leaving the mount namespace for", place))?;
        let options = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("dormouse"), place, Some("tmpfs"), options, Some("mode=0755,size=1m"))
            .map_err(failed("mounting a tmpfs on", place))?;
        let scratch = Self { place };
        for directory in [BUNDLE, STATE].map(|name| scratch.path(name)) {
            std::fs::create_dir(&directory).map_err(failed("making", &directory))?;
        }
        Ok(scratch)
    }

    fn place(&self) -> &Path {
        self.place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.join(name)
    }

    fn write_bundle(&self, spec: &Spec) -> Result<(), CreationError> {
        Ok(spec.save(self.path(BUNDLE).join("config.json"))?)
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

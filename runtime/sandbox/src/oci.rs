//! The OCI runtime configuration of one replica, derived from a validated request alone.

use std::{
    os::fd::{AsRawFd, BorrowedFd},
    path::{Path, PathBuf},
};

use libcontainer::oci_spec::{
    OciSpecError,
    runtime::{
        LinuxBuilder, LinuxCapabilities, LinuxNamespace, LinuxNamespaceBuilder, LinuxNamespaceType, LinuxSeccomp,
        Mount, MountBuilder, PosixRlimit, PosixRlimitBuilder, PosixRlimitType, ProcessBuilder, RootBuilder, Spec,
        SpecBuilder, UserBuilder,
    },
};
use nix::sys::resource::{Resource, getrlimit};

use crate::rootfs::{LIBRARY_DIRECTORY, MODEL_DIRECTORY, ONNXRUNTIME, PROGRAM};

/// Who every payload is inside its container.
pub(crate) const CONTAINER_UID: u32 = 65_532;
/// Replicas die before the daemon when the whole machine is short of memory.
pub(crate) const OOM_SCORE_ADJ: i32 = 600;
/// Descriptors of a worker: its connections are bounded far below.
const DESCRIPTORS_MAX: u64 = 4_096;
/// One byte is less than any core file, and what the kernel takes as the word not to start a handler
/// of core dumps either. At 0 it would: a crash of a hostile payload would then be the input of a
/// program that runs as the host's root.
pub(crate) const NO_CORE_DUMP: u64 = 1;
/// Inodes and a few links, no data.
const DEV_SIZE: &str = "size=64k";

/// Files of /proc that tell about the machine or reach into it.
const MASKED_PATHS: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sysrq-trigger",
    "/proc/kmsg",
];
const READONLY_PATHS: [&str; 4] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys"];

/// What differs between replicas.
#[derive(Debug)]
pub(crate) struct Confinement<'a> {
    pub(crate) root: &'a Path,
    /// Host directory that appears as the model, already read-only, if one does.
    pub(crate) model: Option<&'a Path>,
    pub(crate) cgroup: &'a Path,
    pub(crate) tmp_bytes: u64,
    /// With its maps written; it stays open until the container exists.
    pub(crate) user_namespace: BorrowedFd<'a>,
    pub(crate) seccomp: LinuxSeccomp,
}

impl Confinement<'_> {
    /// The configuration libcontainer is given. It holds no hook, no device and no limit: limits
    /// are in the control group before libcontainer runs, and devices are our own policy.
    pub(crate) fn spec(&self) -> Result<Spec, OciSpecError> {
        let process = ProcessBuilder::default()
            .terminal(false)
            .user(UserBuilder::default().uid(CONTAINER_UID).gid(CONTAINER_UID).umask(0o077_u32).build()?)
            .args([PROGRAM, "worker", "--onnxruntime", ONNXRUNTIME].map(str::to_owned))
            .env([
                "PATH=/usr/bin".to_owned(),
                "HOME=/tmp".to_owned(),
                format!("LD_LIBRARY_PATH={LIBRARY_DIRECTORY}"),
                "ORT_DISABLE_TELEMETRY=1".to_owned(),
            ])
            .cwd("/")
            .capabilities(no_capabilities())
            .no_new_privileges(true)
            .oom_score_adj(OOM_SCORE_ADJ)
            .rlimits(rlimits()?)
            .build()?;
        let mut linux = LinuxBuilder::default()
            .namespaces(self.namespaces()?)
            .cgroups_path(PathBuf::from(self.cgroup))
            .rootfs_propagation("private")
            .seccomp(self.seccomp.clone())
            .masked_paths(MASKED_PATHS.map(str::to_owned))
            .readonly_paths(READONLY_PATHS.map(str::to_owned))
            .build()?;
        // Some are there by default, and libcontainer would look for groups to put them into.
        linux.set_resources(None);
        let spec = SpecBuilder::default()
            .version("1.0.2")
            .hostname("dormouse")
            .root(RootBuilder::default().path(self.root).readonly(true).build()?)
            .mounts(self.mounts()?)
            .process(process)
            .linux(linux)
            .build()?;
        #[cfg(weakened)]
        let spec = crate::defence::weakened::spec(spec)?;
        Ok(spec)
    }

    fn namespaces(&self) -> Result<Vec<LinuxNamespace>, OciSpecError> {
        let own = [
            LinuxNamespaceType::Mount,
            LinuxNamespaceType::Pid,
            LinuxNamespaceType::Network,
            LinuxNamespaceType::Ipc,
            LinuxNamespaceType::Uts,
            LinuxNamespaceType::Cgroup,
        ];
        let user = LinuxNamespaceBuilder::default()
            .typ(LinuxNamespaceType::User)
            .path(format!("/proc/self/fd/{}", self.user_namespace.as_raw_fd()))
            .build();
        std::iter::once(user).chain(own.map(|kind| LinuxNamespaceBuilder::default().typ(kind).build())).collect()
    }

    fn mounts(&self) -> Result<Vec<Mount>, OciSpecError> {
        let tmp_size = format!("size={}", self.tmp_bytes);
        let mut mounts = vec![
            // Read-only: a worker writes to none of it, and could lower its own `oom_score_adj` there.
            mount("/proc", "proc", Path::new("proc"), &["ro", "nosuid", "noexec", "nodev"])?,
            mount("/dev", "tmpfs", Path::new("tmpfs"), &["nosuid", "noexec", "mode=755", DEV_SIZE])?,
            mount("/tmp", "tmpfs", Path::new("tmpfs"), &["nosuid", "nodev", "noexec", "mode=1777", &tmp_size])?,
        ];
        if let Some(model) = self.model {
            mounts.push(mount(MODEL_DIRECTORY, "bind", model, &["bind", "ro", "nosuid", "nodev", "noexec"])?);
        }
        Ok(mounts)
    }
}

pub(crate) fn mount(destination: &str, kind: &str, source: &Path, options: &[&str]) -> Result<Mount, OciSpecError> {
    MountBuilder::default()
        .destination(destination)
        .typ(kind)
        .source(source)
        .options(options.iter().map(|option| (*option).to_owned()).collect::<Vec<_>>())
        .build()
}

fn no_capabilities() -> LinuxCapabilities {
    let mut none = LinuxCapabilities::default();
    none.set_bounding(Some(Default::default()))
        .set_effective(Some(Default::default()))
        .set_inheritable(Some(Default::default()))
        .set_permitted(Some(Default::default()))
        .set_ambient(Some(Default::default()));
    none
}

/// Never above what this process has: raising a hard limit would need `CAP_SYS_RESOURCE`.
fn rlimits() -> Result<Vec<PosixRlimit>, OciSpecError> {
    let at_most = |resource, wanted: u64| getrlimit(resource).map_or(wanted, |(_, hard)| wanted.min(hard));
    [
        (PosixRlimitType::RlimitNofile, at_most(Resource::RLIMIT_NOFILE, DESCRIPTORS_MAX)),
        (PosixRlimitType::RlimitCore, NO_CORE_DUMP),
        (PosixRlimitType::RlimitMemlock, at_most(Resource::RLIMIT_MEMLOCK, 64 << 10)),
    ]
    .into_iter()
    .map(|(kind, value)| PosixRlimitBuilder::default().typ(kind).hard(value).soft(value).build())
    .collect()
}

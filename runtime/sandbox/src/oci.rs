//! The OCI runtime configuration of one replica, derived from a validated request alone: what is the same for
//! all, whatever runs in them.

pub(crate) mod image;
pub(crate) mod worker;

use std::{
    os::fd::{AsRawFd, BorrowedFd},
    path::{Path, PathBuf},
};

use libcontainer::oci_spec::{
    OciSpecError,
    runtime::{
        Capability, LinuxBuilder, LinuxCapabilities, LinuxNamespace, LinuxNamespaceBuilder, LinuxNamespaceType,
        LinuxSeccomp, Mount, MountBuilder, PosixRlimit, PosixRlimitBuilder, PosixRlimitType, ProcessBuilder,
        RootBuilder, Spec, SpecBuilder, User,
    },
};
use nix::sys::resource::{Resource, getrlimit};

/// Replicas die before the daemon when the whole machine is short of memory.
pub(crate) const OOM_SCORE_ADJ: i32 = 600;
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

/// Of a tmpfs, no size is no limit.
const TMPFS_BYTES_MIN: u64 = 4_096;

/// What runs in a container, and as whom.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) user: User,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<String>,
    pub(crate) working_dir: String,
    pub(crate) capabilities: LinuxCapabilities,
    pub(crate) descriptors_max: u64,
}

/// What differs between containers.
#[derive(Debug)]
pub(crate) struct Confinement<'a> {
    pub(crate) root: &'a Path,
    pub(crate) is_root_read_only: bool,
    pub(crate) hostname: &'a str,
    pub(crate) cgroup: &'a Path,
    pub(crate) running: Running,
    pub(crate) mounts: Vec<Mount>,
    /// Whether it has a network namespace of its user namespace's; else it has the one of who makes it.
    pub(crate) makes_network: bool,
    /// With its maps written; it stays open until the container exists.
    pub(crate) user_namespace: BorrowedFd<'a>,
    pub(crate) seccomp: LinuxSeccomp,
}

impl Confinement<'_> {
    /// The configuration libcontainer is given. It holds no hook, no device and no limit: limits
    /// are in the control group before libcontainer runs, and devices are our own policy.
    pub(crate) fn spec(self) -> Result<Spec, OciSpecError> {
        let namespaces = self.namespaces()?;
        let running = self.running;
        let process = ProcessBuilder::default()
            .terminal(false)
            .user(running.user)
            .args(running.args)
            .env(running.env)
            .cwd(running.working_dir)
            .capabilities(running.capabilities)
            .no_new_privileges(true)
            .oom_score_adj(OOM_SCORE_ADJ)
            .rlimits(rlimits(running.descriptors_max)?)
            .build()?;
        let mut linux = LinuxBuilder::default()
            .namespaces(namespaces)
            .cgroups_path(PathBuf::from(self.cgroup))
            .rootfs_propagation("private")
            .seccomp(self.seccomp)
            .masked_paths(MASKED_PATHS.map(str::to_owned))
            .readonly_paths(READONLY_PATHS.map(str::to_owned))
            .build()?;
        // Some are there by default, and libcontainer would look for groups to put them into.
        linux.set_resources(None);
        let spec = SpecBuilder::default()
            .version("1.0.2")
            .hostname(self.hostname)
            .root(RootBuilder::default().path(self.root).readonly(self.is_root_read_only).build()?)
            .mounts(self.mounts)
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
            LinuxNamespaceType::Ipc,
            LinuxNamespaceType::Uts,
            LinuxNamespaceType::Cgroup,
        ];
        let network = self.makes_network.then_some(LinuxNamespaceType::Network);
        let user = LinuxNamespaceBuilder::default()
            .typ(LinuxNamespaceType::User)
            .path(format!("/proc/self/fd/{}", self.user_namespace.as_raw_fd()))
            .build();
        let own = own.into_iter().chain(network).map(|kind| LinuxNamespaceBuilder::default().typ(kind).build());
        std::iter::once(user).chain(own).collect()
    }
}

/// What every container has of the kernel's.
fn common_mounts() -> Result<Vec<Mount>, OciSpecError> {
    Ok(vec![
        // Read-only: a worker writes to none of it, and could lower its own `oom_score_adj` there.
        mount("/proc", "proc", Path::new("proc"), &["ro", "nosuid", "noexec", "nodev"])?,
        mount("/dev", "tmpfs", Path::new("tmpfs"), &["nosuid", "noexec", "mode=755", DEV_SIZE])?,
    ])
}

/// A place for everybody to write to, of so many bytes.
fn writable(destination: &str, bytes: u64, options: &[&str]) -> Result<Mount, OciSpecError> {
    let size = format!("size={}", bytes.max(TMPFS_BYTES_MIN));
    let all = [&["nosuid", "nodev", "mode=1777", &size], options].concat();
    mount(destination, "tmpfs", Path::new("tmpfs"), &all)
}

pub(crate) fn mount(destination: &str, kind: &str, source: &Path, options: &[&str]) -> Result<Mount, OciSpecError> {
    MountBuilder::default()
        .destination(destination)
        .typ(kind)
        .source(source)
        .options(options.iter().map(|option| (*option).to_owned()).collect::<Vec<_>>())
        .build()
}

/// None that outlive an exec without being root, and none beyond these at all.
fn capabilities(some: &[Capability]) -> LinuxCapabilities {
    let some = || Some(some.iter().copied().collect());
    let mut capabilities = LinuxCapabilities::default();
    capabilities
        .set_bounding(some())
        .set_effective(some())
        .set_permitted(some())
        .set_inheritable(Some(Default::default()))
        .set_ambient(Some(Default::default()));
    capabilities
}

/// Never above what this process has: raising a hard limit would need `CAP_SYS_RESOURCE`.
fn rlimits(descriptors_max: u64) -> Result<Vec<PosixRlimit>, OciSpecError> {
    let at_most = |resource, wanted: u64| getrlimit(resource).map_or(wanted, |(_, hard)| wanted.min(hard));
    [
        (PosixRlimitType::RlimitNofile, at_most(Resource::RLIMIT_NOFILE, descriptors_max)),
        (PosixRlimitType::RlimitCore, NO_CORE_DUMP),
        (PosixRlimitType::RlimitMemlock, at_most(Resource::RLIMIT_MEMLOCK, 64 << 10)),
    ]
    .into_iter()
    .map(|(kind, value)| PosixRlimitBuilder::default().typ(kind).hard(value).soft(value).build())
    .collect()
}

//! What the controls of the attack suite are made of. Never part of the product.

use std::{
    collections::HashMap,
    io,
    os::fd::RawFd,
    path::Path,
    sync::{Mutex, OnceLock},
};

use dormouse_spec::{Bytes, Limits, MilliCpu};
use libcontainer::oci_spec::{
    OciSpecError,
    runtime::{Capability, Mount, PosixRlimitType, Spec},
};

use super::Defence;
use crate::oci::mount;

/// Holds the name of the defence that is missing, or names with commas between them.
pub const WEAKENED_VARIABLE: &str = "DORMOUSE_WEAKENED";
/// Set, every container finds a file system of the attacker's at /proc.
pub const REDIRECTED_PROC_VARIABLE: &str = "DORMOUSE_REDIRECTED_PROC";

/// Far more than any attack of the suite asks for, and no danger to the machine it runs on.
const TMP_WITHOUT_LIMIT: Bytes = Bytes::from_mebibytes(512);
const LIMITS_WITHOUT_LIMIT: Limits = Limits {
    cpu: MilliCpu::from_milli(64_000),
    memory: Bytes::from_mebibytes(2_048),
    pids: 2_048,
    tmp: TMP_WITHOUT_LIMIT,
};

/// Capabilities that reach the most.
const EVERY_CAPABILITY: [Capability; 8] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fowner,
    Capability::NetAdmin,
    Capability::Setuid,
    Capability::SysAdmin,
    Capability::SysPtrace,
    Capability::SysResource,
];

/// Kernel parameters that the last request to create a replica asked for.
static SYSCTL: Mutex<Option<HashMap<String, String>>> = Mutex::new(None);

fn missing() -> &'static str {
    static MISSING: OnceLock<String> = OnceLock::new();
    MISSING.get_or_init(|| std::env::var(WEAKENED_VARIABLE).unwrap_or_default())
}

pub(super) fn is_missing(defence: &str) -> bool {
    missing().split(',').any(|missing| missing == defence)
}

#[cfg(not(test))]
pub(crate) fn remember_sysctl(asked: &HashMap<String, String>) {
    if let Ok(mut sysctl) = SYSCTL.lock() {
        *sysctl = Some(asked.clone());
    }
}

/// The limits with the missing one taken away.
pub(crate) fn limits(limits: &Limits) -> Limits {
    let without = LIMITS_WITHOUT_LIMIT;
    Limits {
        cpu: if Defence::CpuLimit.stands() { limits.cpu } else { without.cpu },
        memory: if Defence::MemoryLimit.stands() { limits.memory } else { without.memory },
        pids: if Defence::ProcessLimit.stands() { limits.pids } else { without.pids },
        tmp: limits.tmp,
    }
}

/// The configuration of a container with the missing defence taken out.
pub(crate) fn spec(mut spec: Spec) -> Result<Spec, OciSpecError> {
    if let Some(root) = spec.root_mut().as_mut().filter(|_| !Defence::PrivateProgram.stands()) {
        root.set_readonly(Some(false));
    }
    if let Some(linux) = spec.linux_mut() {
        if !Defence::MaskedPaths.stands() {
            linux.set_masked_paths(None).set_readonly_paths(None);
        }
        if !Defence::SystemCallFilter.stands() {
            linux.set_seccomp(None);
        }
        if !Defence::NoSysctls.stands() {
            linux.set_sysctl(SYSCTL.lock().map_or(None, |sysctl| sysctl.clone()));
        }
    }
    if let Some(process) = spec.process_mut() {
        // The worker has defences of its own to miss.
        if let Some(environment) = process.env_mut() {
            environment.push(format!("{WEAKENED_VARIABLE}={}", missing()));
        }
        if let Some(mut capabilities) = process.capabilities().clone().filter(|_| !Defence::NoCapabilities.stands()) {
            let all = || Some(EVERY_CAPABILITY.into_iter().collect());
            capabilities.set_bounding(all()).set_effective(all()).set_inheritable(all()).set_permitted(all());
            capabilities.set_ambient(all());
            process.set_capabilities(Some(capabilities));
        }
        if let Some(mut limits) = process.rlimits().clone().filter(|_| !Defence::DescriptorLimit.stands()) {
            limits.retain(|limit| limit.typ() != PosixRlimitType::RlimitNofile);
            process.set_rlimits(Some(limits));
        }
    }
    if let Some(mounts) = spec.mounts_mut() {
        mounts_without(mounts)?;
    }
    Ok(spec)
}

fn mounts_without(mounts: &mut Vec<Mount>) -> Result<(), OciSpecError> {
    if std::env::var_os(REDIRECTED_PROC_VARIABLE).is_some() {
        replace(mounts, mount("/proc", "tmpfs", Path::new("tmpfs"), &["nosuid", "noexec", "nodev"])?);
    }
    if !Defence::ReadOnlyProc.stands() {
        replace(mounts, mount("/proc", "proc", Path::new("proc"), &["nosuid", "noexec", "nodev"])?);
    }
    if !Defence::TmpLimit.stands() {
        let size = format!("size={}", TMP_WITHOUT_LIMIT.get());
        replace(
            mounts,
            mount("/tmp", "tmpfs", Path::new("tmpfs"), &["nosuid", "nodev", "noexec", "mode=1777", &size])?,
        );
    }
    if !Defence::NoHostSysfs.stands() {
        mounts.push(mount("/sys", "bind", Path::new("/sys/fs/cgroup"), &["rbind", "nosuid", "nodev", "noexec"])?);
    }
    Ok(())
}

fn replace(mounts: &mut [Mount], by: Mount) {
    if let Some(place) = mounts.iter_mut().find(|mount| mount.destination() == by.destination()) {
        *place = by;
    }
}

/// Mounts what a name leads to at this moment.
pub(crate) fn bind_by_path(from: &Path, to: &Path) -> nix::Result<()> {
    nix::mount::mount(Some(from), to, None::<&str>, nix::mount::MsFlags::MS_BIND, None::<&str>)
}

/// Lets every descriptor survive the next exec, as a runtime does that forgets them.
pub(crate) fn keep_descriptors() -> io::Result<()> {
    if Defence::ClosedDescriptors.stands() {
        return Ok(());
    }
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let Some(number) = entry?.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok()) else { continue };
        // SAFETY: no memory is passed; a descriptor that is no more is an error that changes nothing.
        unsafe { nix::libc::fcntl(number, nix::libc::F_SETFD, 0) };
    }
    Ok(())
}

/// Whatever a path leads to.
pub(crate) fn opened_by_path(path: &Path) -> rustix::io::Result<std::os::fd::OwnedFd> {
    rustix::fs::open(path, rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC, rustix::fs::Mode::empty())
}

/// Every part by its name, wherever it leads.
pub(crate) fn make_by_name(place: &Path, below: &Path, owner: u32) -> io::Result<()> {
    let mut made = place.to_owned();
    for part in below.components() {
        made.push(part);
        if !made.exists() {
            std::fs::create_dir(&made)?;
        }
        std::os::unix::fs::chown(&made, Some(owner), Some(owner))?;
    }
    Ok(())
}

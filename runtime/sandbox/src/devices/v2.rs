//! No controller: a BPF program on the group decides on every open and `mknod`.

use std::{io, path::Path};

use super::{DeviceError, DeviceRule, program};
use crate::bpf::{self, BpfError, Hook, instruction::answer};

/// Makes `rules` the policy of the group whose directory this is, beside any that it has: what
/// several policies do not all allow is denied.
///
/// # Errors
/// Where the kernel does not then tell this very program among those it runs.
pub fn apply(directory: &Path, rules: &[DeviceRule]) -> Result<(), DeviceError> {
    Ok(bpf::apply(directory, Hook::Device, &program::assemble(rules)?)?)
}

/// Loads a program that allows everything, and attaches it to nothing: whether this kernel can
/// enforce a policy at all.
///
/// # Errors
/// Where it cannot, with what is missing. Nothing may be run then.
pub fn probe_kernel() -> Result<(), DeviceError> {
    match bpf::load(Hook::Device, &answer(1)) {
        Err(BpfError::Call { source, .. }) if reason(&source).is_some() => {
            Err(DeviceError::Unsupported { reason: reason(&source).unwrap_or_default(), source })
        }
        loaded => Ok(loaded.map(drop)?),
    }
}

fn reason(error: &io::Error) -> Option<&'static str> {
    match error.raw_os_error()? {
        nix::libc::ENOSYS => Some("it was built without CONFIG_BPF_SYSCALL"),
        nix::libc::EINVAL => Some("it was built without CONFIG_CGROUP_BPF"),
        nix::libc::EPERM | nix::libc::EACCES => {
            Some("the daemon may not load BPF programs: it needs CAP_SYS_ADMIN, or CAP_BPF and CAP_NET_ADMIN")
        }
        _ => None,
    }
}

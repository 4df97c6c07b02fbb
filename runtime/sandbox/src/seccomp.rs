//! The worker's system call allow-list, from configs/seccomp, as libcontainer takes it.
//!
//! The file is part of the program: what a replica may do to the kernel is no matter of
//! configuration.

use libcontainer::oci_spec::{
    OciSpecError,
    runtime::{
        Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArgBuilder, LinuxSeccompBuilder, LinuxSeccompOperator,
        LinuxSyscallBuilder,
    },
};
use serde::Deserialize;

const WORKER: &str = include_str!("../../../configs/seccomp/worker.json");

/// Why the allow-list cannot be used; a mistake in the file itself.
#[derive(Debug, thiserror::Error)]
pub enum SeccompError {
    #[error("configs/seccomp/worker.json is no valid allow-list")]
    Parse(#[from] serde_json::Error),
    #[error("configs/seccomp/worker.json cannot be expressed as an OCI profile")]
    Oci(#[from] OciSpecError),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AllowList {
    /// For the reader.
    #[serde(rename = "description")]
    _description: Vec<String>,
    /// What a call outside the list answers.
    default_errno: u32,
    syscalls: Vec<Allowed>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Allowed {
    name: String,
    #[serde(rename = "reason")]
    _reason: String,
    /// Allowed only where it holds.
    when: Option<When>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct When {
    argument: usize,
    /// The bits of the argument that are looked at.
    mask: u64,
    /// What they must be.
    equals: u64,
}

/// The profile of the built-in worker.
pub(crate) fn worker_profile() -> Result<LinuxSeccomp, SeccompError> {
    let list: AllowList = serde_json::from_str(WORKER)?;
    let syscalls = list
        .syscalls
        .iter()
        .map(|allowed| {
            let rule =
                LinuxSyscallBuilder::default().names([allowed.name.clone()]).action(LinuxSeccompAction::ScmpActAllow);
            match &allowed.when {
                None => rule.build(),
                // libcontainer takes the two the other way round than the OCI specification says and
                // runc does. Turned round, a filter allows what it should not: tested from inside.
                Some(when) => rule
                    .args([LinuxSeccompArgBuilder::default()
                        .index(when.argument)
                        .value(when.equals)
                        .value_two(when.mask)
                        .op(LinuxSeccompOperator::ScmpCmpMaskedEq)
                        .build()?])
                    .build(),
            }
        })
        .collect::<Result<Vec<_>, _>>()?;
    Ok(LinuxSeccompBuilder::default()
        .default_action(LinuxSeccompAction::ScmpActErrno)
        .default_errno_ret(list.default_errno)
        .architectures(native_architecture())
        .syscalls(syscalls)
        .build()?)
}

/// Only this machine's own calls: the 32-bit entry points of a 64-bit kernel stay closed.
fn native_architecture() -> Vec<Arch> {
    if cfg!(target_arch = "aarch64") { vec![Arch::ScmpArchAarch64] } else { vec![Arch::ScmpArchX86_64] }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_call_is_listed_once_with_a_reason() {
        let list: AllowList = serde_json::from_str(WORKER).unwrap();
        let names: BTreeSet<_> = list.syscalls.iter().map(|allowed| &allowed.name).collect();
        assert_eq!(names.len(), list.syscalls.len());
        assert!(list.syscalls.iter().all(|allowed| allowed._reason.len() > 10));
        worker_profile().unwrap();
    }

    #[test]
    fn what_opens_the_kernel_is_not_listed() {
        let list: AllowList = serde_json::from_str(WORKER).unwrap();
        for name in [
            "socket",
            "connect",
            "bind",
            "bpf",
            "ptrace",
            "mount",
            "unshare",
            "setns",
            "clone3",
            "keyctl",
            "splice",
            "userfaultfd",
            "io_uring_setup",
            "process_vm_writev",
            "perf_event_open",
            "mknodat",
            "open_by_handle_at",
        ] {
            assert!(list.syscalls.iter().all(|allowed| allowed.name != name), "{name}");
        }
    }
}

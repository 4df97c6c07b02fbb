//! The worker's system calls, from configs/seccomp, as libcontainer takes them.
//!
//! The file is part of the program: what a replica may do to the kernel is no matter of
//! configuration.

mod list;

use libcontainer::oci_spec::{
    OciSpecError,
    runtime::{
        Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder, LinuxSeccompBuilder,
        LinuxSeccompOperator, LinuxSyscall, LinuxSyscallBuilder,
    },
};

use list::{Allowed, Architecture, Condition, Killed, SystemCalls};

const WORKER: &str = include_str!("../../../configs/seccomp/worker.json");

/// Why the list cannot be used; a mistake in the file itself.
#[derive(Debug, thiserror::Error)]
pub enum SeccompError {
    #[error("configs/seccomp/worker.json is no valid list of system calls")]
    Parse(#[from] serde_json::Error),
    #[error("configs/seccomp/worker.json cannot be expressed as an OCI profile")]
    Oci(#[from] OciSpecError),
}

/// The profile of the built-in worker.
pub(crate) fn worker_profile() -> Result<LinuxSeccomp, SeccompError> {
    let list: SystemCalls = serde_json::from_str(WORKER)?;
    let mut rules = Vec::new();
    for call in list.allowed.iter().filter(|call| call.only.is_none_or(Architecture::is_native)) {
        allow(call, &mut rules)?;
    }
    for killed in &list.killed {
        rules.push(kill(killed)?);
    }
    Ok(LinuxSeccompBuilder::default()
        .default_action(LinuxSeccompAction::ScmpActErrno)
        .default_errno_ret(list.default_errno)
        .architectures(native_architecture())
        .syscalls(rules)
        .build()?)
}

/// One rule for each alternative: any of them allows the call, and within one all conditions must hold.
fn allow(call: &Allowed, rules: &mut Vec<LinuxSyscall>) -> Result<(), OciSpecError> {
    let rule = || LinuxSyscallBuilder::default().names([call.name.clone()]).action(LinuxSeccompAction::ScmpActAllow);
    if call.when.is_empty() {
        rules.push(rule().build()?);
    }
    for alternative in &call.when {
        let arguments = alternative.all.conditions().map(compare).collect::<Result<Vec<_>, _>>()?;
        rules.push(rule().args(arguments).build()?);
    }
    Ok(())
}

/// libcontainer takes value and mask the other way round than the OCI specification says and runc
/// does. Turned round, a filter allows what it should not: tested from inside.
fn compare(condition: &Condition) -> Result<LinuxSeccompArg, OciSpecError> {
    LinuxSeccompArgBuilder::default()
        .index(condition.argument.index())
        .value(condition.equals.0)
        .value_two(condition.mask.0)
        .op(LinuxSeccompOperator::ScmpCmpMaskedEq)
        .build()
}

fn kill(killed: &Killed) -> Result<LinuxSyscall, OciSpecError> {
    LinuxSyscallBuilder::default().names(killed.names.clone()).action(LinuxSeccompAction::ScmpActKillProcess).build()
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

    const CALLS_MAX: usize = 60;

    fn worker() -> SystemCalls {
        serde_json::from_str(WORKER).unwrap()
    }

    #[test]
    fn every_call_is_listed_once_with_a_reason_and_its_proof() {
        let list = worker();
        let killed = list.killed.iter().flat_map(|killed| &killed.names);
        let names: Vec<&String> = list.allowed.iter().map(|call| &call.name).chain(killed).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
        for call in &list.allowed {
            assert!(call.reason.len() > 10, "{}", call.name);
            assert!(call.seen.is_some() != call.unseen.is_some(), "{} was seen, or says why not", call.name);
        }
        assert!(list.killed.iter().all(|killed| killed.reason.len() > 10));
        worker_profile().unwrap();
    }

    #[test]
    fn the_list_is_short() {
        for architecture in [Architecture::X86_64, Architecture::Arm64] {
            let calls =
                worker().allowed.iter().filter(|call| call.only.is_none_or(|only| only == architecture)).count();
            assert!(calls <= CALLS_MAX, "{calls} on {architecture:?}");
        }
    }

    #[test]
    fn a_list_with_a_slip_is_refused() {
        let parse = |when: &str| {
            let text = r#"{"description": [], "default_errno": 38, "killed": [], "allowed":
                [{"name": "ioctl", "reason": "", "when": [WHEN]}]}"#;
            serde_json::from_str::<SystemCalls>(&text.replace("WHEN", when))
        };
        let condition = r#"{"argument": 1, "mask": "0xff", "equals": "0x1"}"#;
        assert!(parse(&format!(r#"{{"means": "x", "all": [{condition}]}}"#)).is_ok());
        for (slip, when) in [
            ("no condition", r#"{"means": "x", "all": []}"#.to_owned()),
            // libcontainer would allow the call where either holds.
            ("an argument twice", format!(r#"{{"means": "x", "all": [{condition}, {condition}]}}"#)),
            (
                "a seventh argument",
                r#"{"means": "x", "all": [{"argument": 6, "mask": "0x1", "equals": "0x1"}]}"#.into(),
            ),
            (
                "a value outside its mask",
                r#"{"means": "x", "all": [{"argument": 1, "mask": "0x1", "equals": "0x2"}]}"#.into(),
            ),
            ("no number", r#"{"means": "x", "all": [{"argument": 1, "mask": "255", "equals": "0x1"}]}"#.into()),
            ("an unknown word", format!(r#"{{"means": "x", "any": [{condition}], "all": [{condition}]}}"#)),
        ] {
            assert!(parse(&when).is_err(), "{slip}");
        }
    }
}

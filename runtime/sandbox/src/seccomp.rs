//! The system calls of containers, and of what unpacks their images, from configs/seccomp, as libcontainer takes
//! them.
//!
//! The files are part of the program: what a replica may do to the kernel is no matter of
//! configuration.

mod list;

use libcontainer::oci_spec::{
    OciSpecError,
    runtime::{
        Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder, LinuxSeccompBuilder,
        LinuxSeccompOperator, LinuxSyscall, LinuxSyscallBuilder,
    },
};

use list::{Additions, Allowed, Condition, Group, GroupedCalls, Killed, SystemCalls, When};

const WORKER: &str = include_str!("../../../configs/seccomp/worker.json");
const TEMPLATE: &str = include_str!("../../../configs/seccomp/template.json");
const IMAGE: &str = include_str!("../../../configs/seccomp/image.json");
const UNPACK: &str = include_str!("../../../configs/seccomp/unpack.json");

/// Why a list cannot be used; a mistake in the file itself.
#[derive(Debug, thiserror::Error)]
pub enum SeccompError {
    #[error("configs/seccomp/{file} is no valid list of system calls")]
    Parse {
        file: &'static str,
        #[source]
        source: serde_json::Error,
    },
    #[error("a list of configs/seccomp cannot be expressed as an OCI profile")]
    Oci(#[from] OciSpecError),
}

/// What containers are made with.
#[derive(Debug)]
pub(crate) struct Profiles {
    pub(crate) worker: LinuxSeccomp,
    /// A worker that forks.
    pub(crate) template: LinuxSeccomp,
    /// Processes of images.
    pub(crate) image: LinuxSeccomp,
    /// No container: what reads the layers of images.
    pub(crate) unpack: LinuxSeccomp,
}

impl Profiles {
    pub(crate) fn built_in() -> Result<Self, SeccompError> {
        Ok(Self {
            worker: worker_profile()?,
            template: template_profile()?,
            image: image_profile()?,
            unpack: unpack_profile()?,
        })
    }
}

/// The profile of the built-in worker.
fn worker_profile() -> Result<LinuxSeccomp, SeccompError> {
    let worker = worker()?;
    profile(&worker, worker.allowed.iter())
}

/// The profile of a worker that forks its servers.
fn template_profile() -> Result<LinuxSeccomp, SeccompError> {
    let worker = worker()?;
    profile(&worker, worker.allowed.iter().chain(&template()?.allowed))
}

/// The profile of the process that unpacks a layer.
fn unpack_profile() -> Result<LinuxSeccomp, SeccompError> {
    let unpack = unpack()?;
    profile(&unpack, unpack.allowed.iter())
}

/// The profile of a process of an image.
fn image_profile() -> Result<LinuxSeccomp, SeccompError> {
    let list = image()?;
    let mut rules = Vec::new();
    for group in list.allowed.iter().filter(|group| group.is_native()) {
        rules.extend(group.rules(LinuxSeccompAction::ScmpActAllow, None)?);
    }
    for group in list.refused.iter().filter(|group| group.is_native()) {
        rules.extend(group.rules(LinuxSeccompAction::ScmpActErrno, Some(list.refused_errno))?);
    }
    built(list.default_errno, rules)
}

fn image() -> Result<GroupedCalls, SeccompError> {
    serde_json::from_str(IMAGE).map_err(|source| SeccompError::Parse { file: "image.json", source })
}

impl Group {
    /// All names in one rule where there is no condition, or else a rule for each alternative.
    fn rules(&self, action: LinuxSeccompAction, errno: Option<u32>) -> Result<Vec<LinuxSyscall>, OciSpecError> {
        let rule = |arguments: Option<Vec<LinuxSeccompArg>>| {
            let mut rule = LinuxSyscallBuilder::default().names(self.names.clone()).action(action);
            if let Some(errno) = errno {
                rule = rule.errno_ret(errno);
            }
            match arguments {
                Some(arguments) => rule.args(arguments).build(),
                None => rule.build(),
            }
        };
        if self.when.is_empty() {
            return Ok(vec![rule(None)?]);
        }
        let of = |when: &When| rule(Some(when.all.conditions().map(compare).collect::<Result<_, _>>()?));
        self.when.iter().map(of).collect()
    }
}

fn unpack() -> Result<SystemCalls, SeccompError> {
    serde_json::from_str(UNPACK).map_err(|source| SeccompError::Parse { file: "unpack.json", source })
}

fn worker() -> Result<SystemCalls, SeccompError> {
    serde_json::from_str(WORKER).map_err(|source| SeccompError::Parse { file: "worker.json", source })
}

fn template() -> Result<Additions, SeccompError> {
    serde_json::from_str(TEMPLATE).map_err(|source| SeccompError::Parse { file: "template.json", source })
}

/// A call may be named more than once: whatever any of its rules allows is allowed.
fn profile<'l>(list: &SystemCalls, allowed: impl Iterator<Item = &'l Allowed>) -> Result<LinuxSeccomp, SeccompError> {
    let mut rules = Vec::new();
    for call in allowed.filter(|call| call.is_native()) {
        allow(call, &mut rules)?;
    }
    for killed in list.killed.iter().filter(|killed| killed.is_native()) {
        rules.push(kill(killed)?);
    }
    built(list.default_errno, rules)
}

/// What no rule is of answers with this error.
fn built(default_errno: u32, rules: Vec<LinuxSyscall>) -> Result<LinuxSeccomp, SeccompError> {
    Ok(LinuxSeccompBuilder::default()
        .default_action(LinuxSeccompAction::ScmpActErrno)
        .default_errno_ret(default_errno)
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
    use list::{Architecture, Phase};

    const CALLS_MAX: usize = 60;
    const ADDITIONS_MAX: usize = 6;
    /// What a forked server loads by itself, on top of what its container has.
    const SERVER: &str = include_str!("../../../configs/seccomp/server.json");

    fn server() -> SystemCalls {
        serde_json::from_str(SERVER).unwrap()
    }

    fn each_is_listed_once_with_a_reason_and_its_proof(allowed: &[Allowed], killed: &[Killed]) {
        let forbidden = killed.iter().flat_map(|killed| &killed.names);
        let names: Vec<&String> = allowed.iter().map(|call| &call.name).chain(forbidden).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
        for call in allowed {
            assert!(call.reason.len() > 10, "{}", call.name);
            assert!(call.seen.is_some() != call.unseen.is_some(), "{} was seen, or says why not", call.name);
        }
        assert!(killed.iter().all(|killed| killed.reason.len() > 10));
    }

    #[test]
    fn every_call_is_listed_once_with_a_reason_and_its_proof() {
        for list in [worker().unwrap(), server(), unpack().unwrap()] {
            each_is_listed_once_with_a_reason_and_its_proof(&list.allowed, &list.killed);
        }
        each_is_listed_once_with_a_reason_and_its_proof(&template().unwrap().allowed, &[]);
        worker_profile().unwrap();
        unpack_profile().unwrap();
    }

    #[test]
    fn the_lists_are_short() {
        for architecture in [Architecture::X86_64, Architecture::Arm64] {
            let count = |allowed: &[Allowed]| {
                allowed.iter().filter(|call| call.only.is_none_or(|only| only == architecture)).count()
            };
            assert!(count(&worker().unwrap().allowed) <= CALLS_MAX, "{architecture:?}");
            assert!(count(&template().unwrap().allowed) <= ADDITIONS_MAX, "{architecture:?}");
        }
    }

    /// Ways into the kernel, out of the container or to another process, which no image is given.
    const FORBIDDEN: &str = "unshare setns mount umount2 pivot_root chroot move_mount open_tree fsopen fsconfig fsmount fspick \
        mount_setattr keyctl add_key request_key bpf perf_event_open io_uring_setup io_uring_enter io_uring_register \
        userfaultfd ptrace process_vm_readv process_vm_writev pidfd_getfd kcmp kexec_load kexec_file_load init_module \
        finit_module delete_module open_by_handle_at name_to_handle_at quotactl acct swapon swapoff reboot nfsservctl \
        syslog settimeofday clock_settime iopl ioperm";

    #[test]
    fn images_are_given_what_programs_are_used_to_and_nothing_that_is_forbidden() {
        let list = image().unwrap();
        assert_eq!((list.default_errno, list.refused_errno), (38, 1));
        let names = |groups: &[Group]| -> Vec<String> { groups.iter().flat_map(|group| group.names.clone()).collect() };
        for groups in [&list.allowed, &list.refused] {
            let all = names(groups);
            assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "each is named once");
            assert!(groups.iter().all(|group| group.reason.len() > 10 && !group.names.is_empty()));
        }
        let (allowed, refused) = (names(&list.allowed), names(&list.refused));
        let both: Vec<&String> = allowed.iter().filter(|name| refused.contains(name)).collect();
        assert_eq!(both, ["clone"], "by its arguments");
        for name in FORBIDDEN.split_whitespace() {
            assert!(!allowed.contains(&name.to_owned()) && refused.contains(&name.to_owned()), "{name}");
        }
        assert!(!allowed.contains(&"clone3".to_owned()) && !refused.contains(&"clone3".to_owned()));
        let conditional: Vec<&Group> = list.allowed.iter().filter(|group| !group.when.is_empty()).collect();
        assert_eq!(
            conditional.iter().flat_map(|group| &group.names).collect::<Vec<_>>(),
            ["clone", "socket", "socketpair", "personality"]
        );
        image_profile().unwrap();
    }

    /// The rules of a profile as text, which is how they can be compared.
    fn rules(profile: &LinuxSeccomp) -> BTreeSet<String> {
        profile.syscalls().iter().flatten().map(|rule| serde_json::to_string(rule).unwrap()).collect()
    }

    #[test]
    fn a_template_may_what_a_worker_may_and_fork() {
        let (worker, template) = (worker_profile().unwrap(), template_profile().unwrap());
        assert!(rules(&worker).is_subset(&rules(&template)));
        let added: Vec<String> = rules(&template).difference(&rules(&worker)).cloned().collect();
        assert!(added.iter().all(|rule| rule.contains("SCMP_ACT_ALLOW")), "{added:?}");
        // One of each alternative.
        let calls = ["clone", "dup", "madvise", "prctl", "prctl", "seccomp", "wait4"];
        assert_eq!(added.len(), calls.len(), "{added:?}");
        assert!(calls.iter().all(|call| added.iter().any(|rule| rule.contains(call))), "{added:?}");
        let others = |mut profile: LinuxSeccomp| {
            profile.set_syscalls(None);
            profile
        };
        assert_eq!(others(worker), others(template));
    }

    /// A filter that was added can only take away, so anything else would be an entry without effect.
    #[test]
    fn a_server_may_nothing_that_its_container_may_not() {
        let (worker, template, server) = (worker().unwrap(), template().unwrap(), server());
        let of_container: Vec<&Allowed> = worker.allowed.iter().chain(&template.allowed).collect();
        for call in &server.allowed {
            let named: Vec<_> = of_container.iter().filter(|other| other.name == call.name).collect();
            assert!(named.iter().any(|other| other.only == call.only), "{}", call.name);
            // Its alternatives are some of those, or it leaves them to the container's filter.
            let when = |call: &Allowed| call.when.iter().map(|when| format!("{:?}", when.all)).collect::<BTreeSet<_>>();
            let alternatives: BTreeSet<String> = named.iter().flat_map(|other| when(other)).collect();
            assert!(when(call).is_subset(&alternatives) || alternatives.is_empty(), "{}", call.name);
            assert_eq!(call.seen.unwrap_or(Phase::Serve), Phase::Serve, "{}", call.name);
        }
        for name in server.killed.iter().flat_map(|killed| &killed.names) {
            assert!(!worker.killed.iter().any(|killed| killed.names.contains(name)), "{name} kills without it");
        }
        assert_eq!(server.default_errno, worker.default_errno);
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

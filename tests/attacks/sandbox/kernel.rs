//! Class 12: system calls through which kernels were taken over.

use dormouse_attacks::{Attack, Ground, Outcome, Replicas};
use nix::libc;

use crate::stage::Stage;

pub(crate) const ATTACKS: &[Attack] =
    &[Attack { class: 12, name: "system calls that open the kernel", defence: "SystemCallFilter", run: open_kernel }];

const AF_ALG: i64 = 38;
/// What programs at large are used to, and a worker has no need of.
const OF_IMAGES: [&str; 3] = ["socket(AF_NETLINK)", "splice", "memfd_create"];

/// Each with arguments that an unprivileged process would get something for; `*` is memory.
fn calls() -> Vec<(&'static str, String)> {
    let call = |name, number: i64, arguments: &str| (name, format!("{number} {arguments}").trim().to_owned());
    vec![
        call("socket(AF_ALG)", libc::SYS_socket, &format!("{AF_ALG} {} 0", libc::SOCK_SEQPACKET)),
        call("socket(AF_NETLINK)", libc::SYS_socket, &format!("{} {} 0", libc::AF_NETLINK, libc::SOCK_RAW)),
        call("unshare(CLONE_NEWUSER)", libc::SYS_unshare, &libc::CLONE_NEWUSER.to_string()),
        call("io_uring_setup", libc::SYS_io_uring_setup, "4 *"),
        call("bpf", libc::SYS_bpf, "0 * 72"),
        call("userfaultfd", libc::SYS_userfaultfd, "1"),
        call("keyctl", libc::SYS_keyctl, "0 -3 1"),
        call("add_key", libc::SYS_add_key, "* * 0 0 -3"),
        call("ptrace(TRACEME)", libc::SYS_ptrace, "0"),
        call("perf_event_open", libc::SYS_perf_event_open, "* 0 -1 -1 0"),
        call("splice", libc::SYS_splice, "1 0 2 0 1 0"),
        call("memfd_create", libc::SYS_memfd_create, "* 0"),
        call("process_vm_readv", libc::SYS_process_vm_readv, "1 * 1 * 1 0"),
        call("mount", libc::SYS_mount, "* * * 0 0"),
        call("fsopen", libc::SYS_fsopen, "* 0"),
        call("setns", libc::SYS_setns, "0 0"),
        call("modify_ldt", MODIFY_LDT, "0 * 16"),
    ]
}

/// Of x86-64 alone; elsewhere a number that no kernel has.
#[cfg(target_arch = "x86_64")]
const MODIFY_LDT: i64 = libc::SYS_modify_ldt;
#[cfg(not(target_arch = "x86_64"))]
const MODIFY_LDT: i64 = 100_000;

fn open_kernel(ground: &Ground) -> Outcome {
    let mut stage = Stage::enter(ground);
    let mut replica = stage.replica();
    let mut reached = Vec::new();
    let is_image = ground.replicas == Replicas::Image;
    let mut calls = calls();
    calls.retain(|(name, _)| !(is_image && OF_IMAGES.contains(name)));
    for (name, call) in &calls {
        match stage.ask(&replica, &format!("system-call {call}")).as_str() {
            "ENOSYS" => {}
            // For processes of images some of them are refused as they are for want of a capability.
            "EPERM" if is_image => {}
            // It did not survive the call.
            "" => replica = stage.replica(),
            answer => reached.push(format!("{name}={answer}")),
        }
    }
    stage.leave();
    if reached.is_empty() {
        Outcome::Stopped(format!("none of {} reaches the kernel", calls.len()))
    } else {
        Outcome::GotThrough(format!("{} reach it: {}", reached.len(), reached.join(", ")))
    }
}

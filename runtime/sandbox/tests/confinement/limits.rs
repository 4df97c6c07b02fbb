//! Limits and the device policy, in the kernel's own files and as a payload meets them.

use std::{fs, os::unix::fs::MetadataExt};

use dormouse_sandbox::messages::ExitCause;

use dormouse_driver::{
    daemon::Daemon,
    machine::{self, interface},
    script::{LIMITS, call_fatally, replica, replica_of},
};

pub(crate) fn are_in_the_control_group() {
    let mut daemon = Daemon::start();
    let mut node = daemon.node();
    let spec = replica();
    node.start(&spec);
    let read = |v1, v2| interface(&daemon.group(), &spec.replica, v1, v2);
    let memory = LIMITS.memory.get().to_string();
    assert_eq!(read(("memory", "memory.limit_in_bytes"), "memory.max"), memory);
    assert_eq!(read(("pids", "pids.max"), "pids.max"), LIMITS.pids.to_string());
    if machine::is_v1() {
        assert_eq!(read(("cpu", "cpu.cfs_quota_us"), ""), "50000");
        assert_eq!(read(("cpu", "cpu.cfs_period_us"), ""), "100000");
    } else {
        assert_eq!(read(("", ""), "cpu.max"), "50000 100000");
        assert_eq!(read(("", ""), "memory.oom.group"), "1");
    }
    daemon.end(node);
}

pub(crate) fn of_processes_and_memory_hold() {
    let mut daemon = Daemon::start();
    let mut node = daemon.node();
    let spec = replica();
    node.start(&spec);
    // The child that made it counts until the spawner has taken note of its end.
    machine::until("a replica is one task", || {
        interface(&daemon.group(), &spec.replica, ("pids", "pids.current"), "pids.current") == "1"
    });
    let threads: u32 = node.call(&spec.replica, "threads").parse().unwrap();
    assert_eq!(threads + 1, LIMITS.pids);
    call_fatally(&node.socket(&spec.replica), "eat");
    assert_eq!(node.exit_cause(&spec.replica), ExitCause::OutOfMemory { limit_bytes: LIMITS.memory.get() });
    daemon.end(node);
}

/// libcontainer adds rules of its own, which must be gone once the payload runs.
pub(crate) fn of_devices_are_read_back() {
    let mut daemon = Daemon::start();
    let mut node = daemon.node();
    let spec = replica();
    node.start(&spec);
    if machine::is_v1() {
        let list = interface(&daemon.group(), &spec.replica, ("devices", "devices.list"), "");
        let mut rules: Vec<&str> = list.lines().collect();
        rules.sort_unstable();
        assert_eq!(rules, ["c 1:3 rw", "c 1:5 rw", "c 1:7 rw", "c 1:8 rw", "c 1:9 rw"]);
    }
    // On v2 a program decides, which cannot be listed by what it allows: only from inside.
    assert_eq!(node.call(&spec.replica, "open /dev/tty"), "EPERM");
    assert_eq!(node.call(&spec.replica, "open /dev/zero"), "ok");
    daemon.end(node);
}

pub(crate) fn of_open_files_is_raised_and_counted() {
    // What is reserved, and seven for each of three replicas.
    let mut daemon = Daemon::start_with(|settings| settings.open_files = Some((40, 80 + 3 * 7)));
    let mut node = daemon.node();
    let limits = fs::read_to_string(format!("/proc/{}/limits", daemon.pid())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(line.split_whitespace().filter(|field| *field == "101").count(), 2, "{line}");
    for serial in 1..=3 {
        node.start(&replica_of("plain", serial));
    }
    let fourth = replica_of("plain", 4);
    node.create(&fourth);
    let ExitCause::NotCreated { reason } = node.exit_cause(&fourth.replica) else { panic!("one too many") };
    assert!(reason.contains("open files"), "{reason}");
    let socket = fs::metadata(node.socket(&replica_of("plain", 1).replica)).unwrap();
    assert_eq!((socket.uid(), socket.mode() & 0o777), (0, 0o660));
    daemon.end(node);
}

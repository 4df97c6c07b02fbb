//! Confinement as a payload finds it.

use std::collections::BTreeMap;

use dormouse_driver::{
    Daemon, Node,
    daemon::{is_forked, pool_size},
    script::replica,
};

/// A daemon with one replica, and its worker's answers.
struct Inside {
    daemon: Daemon,
    node: Node,
}

impl Inside {
    fn enter() -> Self {
        let mut daemon = Daemon::start();
        let mut node = daemon.node();
        node.start(&replica());
        Self { daemon, node }
    }

    fn ask(&self, command: &str) -> String {
        self.node.call(&replica().replica, command)
    }

    fn status(&self, field: &str) -> String {
        let status = self.ask("read /proc/self/status");
        let value = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_else(|| panic!("no {field}"));
        value.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Where each mount is, and its options.
    fn mounts(&self) -> BTreeMap<String, Vec<String>> {
        let mountinfo = self.ask("read /proc/self/mountinfo");
        let parse = |line: &str| {
            let fields: Vec<&str> = line.split(' ').collect();
            (fields[4].to_owned(), fields[5].split(',').map(str::to_owned).collect())
        };
        mountinfo.lines().map(parse).collect()
    }

    fn leave(self) {
        self.daemon.end(self.node);
    }
}

pub(crate) fn no_rights_are_left() {
    let inside = Inside::enter();
    assert_eq!(inside.status("Uid:"), "65532 65532 65532 65532");
    assert_eq!(inside.status("Gid:"), "65532 65532 65532 65532");
    assert_eq!(inside.status("Groups:"), "");
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(inside.status(set), "0000000000000000", "{set}");
    }
    assert_eq!(inside.status("NoNewPrivs:"), "1");
    assert_eq!(inside.status("Seccomp:"), "2", "a filter");
    assert_eq!(inside.status("Seccomp_filters:"), if is_forked() { "3" } else { "1" });
    inside.leave();
}

pub(crate) fn only_what_belongs_is_open() {
    let inside = Inside::enter();
    let inherited: BTreeMap<String, String> = serde_json::from_str(&inside.ask("inherited")).unwrap();
    let kinds: Vec<(&str, &str)> =
        inherited.iter().map(|(number, target)| (number.as_str(), target.split(':').next().unwrap())).collect();
    assert_eq!(kinds, [("0", "socket"), ("1", "pipe"), ("2", "pipe")], "control channel and log");
    assert_eq!(inherited["1"], inherited["2"]);
    inside.leave();
}

pub(crate) fn the_network_is_empty() {
    let inside = Inside::enter();
    let interfaces = inside.ask("read /proc/net/dev");
    let names: Vec<&str> = interfaces.lines().skip(2).map(|line| line.split(':').next().unwrap().trim()).collect();
    // Kernels with tunnels built in make their (unconnected) devices in every namespace.
    assert!(names.contains(&"lo") && names.iter().all(|name| *name == "lo" || name.ends_with('0')), "{names:?}");
    assert_eq!(inside.ask("read /proc/net/route").lines().skip(1).count(), 0, "no route below the heading");
    let addresses = inside.ask("read /proc/net/fib_trie");
    assert!(!addresses.contains("32 host"), "no address, so not even the loopback is up: {addresses}");
    inside.leave();
}

pub(crate) fn the_root_is_its_own_and_read_only() {
    let inside = Inside::enter();
    assert_eq!(inside.ask("list /"), "dev lib64 mnt proc sys tmp usr".replace("lib64 ", linker_directory()));
    if pool_size() == 0 {
        assert_eq!(inside.ask("list /mnt/models"), "model.onnx");
        assert_eq!(inside.ask("read /mnt/models/model.onnx"), "weights");
    } else {
        assert_eq!(inside.ask("list /mnt/models"), "", "a blank has no models, and gets one by descriptor");
    }
    for path in ["/new", "/usr/bin/new", "/usr/lib/dormouse/new", "/mnt/new", "/mnt/models/new", "/sys/new"] {
        assert_eq!(inside.ask(&format!("create {path}")), "EROFS", "{path}");
    }
    for path in ["/usr/bin/dormouse", "/usr/lib/dormouse/libonnxruntime.so", "/mnt/models/model.onnx"] {
        assert_ne!(inside.ask(&format!("open {path}")), "ok", "{path}");
    }
    let may_be_written = ["/dev", "/tmp"];
    for (place, options) in inside.mounts() {
        let has = |option: &str| options.iter().any(|known| known == option);
        let of_the_host = |place: &str| {
            !["/", "/mnt/models"].contains(&place)
                && !["/dev", "/proc", "/tmp", "/usr/lib/dormouse", "/lib"].iter().any(|root| place.starts_with(root))
        };
        assert!(!of_the_host(&place), "{place}");
        let is_device = place.starts_with("/dev/") || place.starts_with("/proc/");
        assert!(is_device || has("nosuid"), "{place} {options:?}");
        assert!(has("ro") || may_be_written.contains(&place.as_str()) || is_device, "{place} {options:?}");
        let is_new = place == "/proc" || place == "/tmp" || place == "/mnt/models";
        assert!(!is_new || has("nosuid") && has("nodev") && has("noexec"), "{place} {options:?}");
    }
    inside.leave();
}

/// Programs of arm64 expect their linker in /lib.
fn linker_directory() -> &'static str {
    if cfg!(target_arch = "aarch64") { "lib " } else { "lib64 " }
}

pub(crate) fn tmp_has_an_end_and_runs_nothing() {
    let inside = Inside::enter();
    assert_eq!(inside.ask("execute-from /tmp/page"), "EPERM");
    assert_eq!(inside.ask("fill /tmp/rest"), format!("{} ENOSPC", (1 << 20) - 4096));
    inside.leave();
}

pub(crate) fn dev_is_exactly_this() {
    let inside = Inside::enter();
    let names = "fd full null ptmx random stderr stdin stdout tty urandom zero";
    // libcontainer links to it where the kernel has one; what it leads to is masked.
    assert_eq!(inside.ask("list /dev").replace("kcore ", ""), names);
    for device in ["null", "zero", "full", "random", "urandom"] {
        assert_eq!(inside.ask(&format!("open /dev/{device}")), "ok", "{device}");
    }
    assert_eq!(inside.ask("open /dev/tty"), "EPERM", "a node without a policy that allows it");
    assert_eq!(inside.ask("open /dev/ptmx"), "ENOENT", "a link to terminals that are not mounted");
    assert_eq!(inside.ask("create /dev/new"), "EACCES");
    inside.leave();
}

pub(crate) fn proc_tells_little() {
    let inside = Inside::enter();
    let pids = inside.ask("list /proc");
    let pids: Vec<&str> = pids.split(' ').filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())).collect();
    let known: &[&str] = if is_forked() { &["1", "2"] } else { &["1"] };
    assert_eq!(pids, known, "no process but the worker, and its template");
    for file in ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/interrupts", "/proc/sysrq-trigger"] {
        let told = inside.ask(&format!("read {file}"));
        // A kernel without the file has nothing to mask.
        assert!(told.is_empty() || told == "ENOENT", "{file}: {told}");
    }
    let mounts = inside.mounts();
    for directory in ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys"] {
        assert!(mounts.get(directory).is_none_or(|options| options.contains(&"ro".to_owned())), "{directory}");
    }
    assert!(mounts.contains_key("/proc/sys"));
    let groups = inside.ask("read /proc/self/cgroup");
    // A server is beside the group that its container takes for the root, and can tell no more than its own name.
    let is_its = |line: &str| line.ends_with(":/") || (is_forked() && line.ends_with(":/../fork-1"));
    assert!(!groups.is_empty() && groups.lines().all(is_its), "{groups}");
    inside.leave();
}

pub(crate) fn what_was_inherited_is_exactly_this() {
    let inside = Inside::enter();
    let environment = "PATH=/usr/bin\nHOME=/tmp\nLD_LIBRARY_PATH=/usr/lib/dormouse\nORT_DISABLE_TELEMETRY=1\n";
    assert_eq!(inside.ask("environment"), environment);
    assert_eq!(inside.ask("hostname"), "dormouse");
    assert_eq!(inside.ask("read /proc/self/oom_score_adj").trim(), "600");
    assert_eq!(inside.status("Umask:"), "0077");
    assert_eq!(inside.status("SigBlk:"), "0000000000000000");
    let limits = inside.ask("read /proc/self/limits");
    for (name, value) in [("Max core file size", 1), ("Max open files", 4096), ("Max locked memory", 64 << 10)] {
        let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name}"));
        let numbers: Vec<u64> = line.split_whitespace().filter_map(|field| field.parse().ok()).collect();
        assert_eq!(numbers, [value, value], "{name}");
    }
    inside.leave();
}

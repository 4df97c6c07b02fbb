//! Processes of images as they find themselves: user, rights, root, network.

use std::{collections::BTreeSet, fs, os::fd::AsRawFd, path::Path};

use dormouse_driver::{
    Daemon, Node,
    images::{PORT, archive, as_user, get, ids_can_be_distinct, image, web, with},
    layers::{Archive, tree},
    machine,
    script::read_log,
};
use dormouse_sandbox::messages::{ExitCause, ImageIdsMode, ReplicaId, ReplicaSpec, Request};
use dormouse_spec::Digest;
use tar::EntryType;

/// A daemon with the image unpacked.
pub(crate) struct Stage {
    pub(crate) daemon: Daemon,
    pub(crate) node: Node,
    pub(crate) layer: Digest,
}

impl Stage {
    pub(crate) fn set() -> Self {
        let mut daemon = Daemon::start();
        let mut node = daemon.node();
        let layer = node.unpack_image(&daemon.settings.data.clone(), archive());
        Self { daemon, node, layer }
    }

    /// The image's web server.
    pub(crate) fn web(&self, endpoint: &str) -> ReplicaSpec {
        web(endpoint, 1, &[self.layer])
    }

    pub(crate) fn sh(&self, endpoint: &str, script: &str) -> ReplicaSpec {
        image(endpoint, 1, &[self.layer], &["sh", "-c", script])
    }

    pub(crate) fn unpack(&mut self, archive: Archive) -> Digest {
        self.node.unpack_image(&self.daemon.settings.data.clone(), archive)
    }

    /// Starts it, runs a command in it, and leaves it there.
    pub(crate) fn run(&mut self, spec: &ReplicaSpec, command: &str) -> String {
        self.node.start_image(spec);
        self.node.run_in(&spec.replica, command)
    }

    pub(crate) fn stop(&mut self, replica: &ReplicaId) {
        self.node.stop(replica, 0);
        assert_eq!(self.node.exit_cause(replica), ExitCause::Stopped);
    }

    /// Why it is not created.
    pub(crate) fn refusal(&mut self, spec: &ReplicaSpec) -> String {
        self.node.ask(&Request::Create(Box::new(spec.clone())));
        match self.node.exit_cause(&spec.replica) {
            ExitCause::NotCreated { reason } => reason,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn end(self) {
        self.daemon.end(self.node);
    }
}

fn field<'a>(status: &'a str, name: &str) -> &'a str {
    status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name}: {status}")).trim()
}

pub(crate) fn a_web_server_answers_over_a_socket_that_was_passed() {
    let mut stage = Stage::set();
    let is_distinct = stage.node.image_ids == Some(ImageIdsMode::Distinct);
    assert_eq!(is_distinct, ids_can_be_distinct(&stage.daemon.settings.data), "{:?}", stage.node.image_ids);
    let spec = stage.web("web");
    stage.node.start_image(&spec);
    let connection = stage.node.connect(&spec.replica, PORT);
    assert_eq!(connection.peer_addr().unwrap().to_string(), format!("127.0.0.1:{PORT}"));
    assert_eq!(get(connection, "/index.html"), "busybox serves this");
    let environment = stage.node.run_in(&spec.replica, "env; pwd -P; hostname; cat /etc/hostname /etc/hosts");
    for line in [
        "GREETING=hello",
        "HOSTNAME=web",
        "HOME=/root",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    ] {
        assert!(environment.lines().any(|found| found == line), "{line}: {environment}");
    }
    assert!(environment.contains("\nweb\nweb\n127.0.0.1\tlocalhost\n::1\tlocalhost"), "{environment}");
    stage.end();
}

pub(crate) fn users_are_numbers_and_names_of_the_image() {
    let mut stage = Stage::set();
    for (serial, (user, uid, gid, expected)) in [
        ("", None, None, "uid=0(root) gid=0(root) groups=0(root)"),
        ("web", None, None, "uid=33(web) gid=34(www) groups=4(log),34(www)"),
        ("33", None, None, "uid=33(web) gid=34(www) groups=4(log),34(www)"),
        ("other:log", None, None, "uid=1234(other) gid=4(log) groups=4(log)"),
        ("4321:8765", None, None, "uid=4321 gid=8765 groups=8765"),
        ("web", Some(1_000), Some(2_000), "uid=1000 gid=2000 groups=2000"),
    ]
    .into_iter()
    .enumerate()
    {
        let spec = with(web("users", serial as u64, &[stage.layer]), |payload| {
            user.clone_into(&mut payload.user.of_image);
            (payload.user.uid, payload.user.gid) = (uid, gid);
        });
        let found = stage.run(&spec, "id");
        assert_eq!(found, expected, "{user}");
    }
    let reason = stage.refusal(&as_user(stage.web("unknown"), "nobody-knows"));
    assert!(reason.contains("`nobody-knows`") && reason.contains("/etc/passwd"), "{reason}");
    let reason = stage.refusal(&as_user(stage.web("unknown"), "web:no-group"));
    assert!(reason.contains("`no-group`") && reason.contains("/etc/group"), "{reason}");
    let reason = stage.refusal(&as_user(stage.web("unknown"), "65536"));
    assert!(reason.contains("65535"), "{reason}");
    stage.end();
}

pub(crate) fn roots_rights_end_at_its_container_and_others_have_none() {
    let mut stage = Stage::set();
    let (root, other) = (stage.web("root"), as_user(stage.web("other"), "web"));
    let status = stage.run(&root, "cat /proc/self/status");
    for (set, expected) in [("CapInh:", 0), ("CapPrm:", 0x5fb), ("CapEff:", 0x5fb), ("CapBnd:", 0x5fb), ("CapAmb:", 0)]
    {
        assert_eq!(field(&status, set), format!("{expected:016x}"), "{set}");
    }
    let status_of_other = stage.run(&other, "cat /proc/self/status");
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(field(&status_of_other, set), "0000000000000000", "{set}");
    }
    for status in [&status, &status_of_other] {
        let found = ["NoNewPrivs:", "Seccomp:", "Seccomp_filters:"].map(|name| field(status, name));
        assert_eq!(found, ["1", "2", "1"]);
    }
    // What images' entrypoints do, and what none can.
    let does = "mkdir /data && chmod 700 /data && touch /data/file && ln /data/file /data/other && echo done";
    assert_eq!(stage.node.run_in(&root.replica, does), "done");
    for (command, refusal) in [
        ("mount -t tmpfs tmpfs /tmp", "permission denied"),
        ("umount /proc/sys", "Operation not permitted"),
        ("unshare -U true", "Operation not permitted"),
        ("unshare -m true", "Operation not permitted"),
        ("mknod /tmp/disk b 8 0", "Operation not permitted"),
        ("echo 1 >/proc/sys/net/ipv4/ip_forward", "Read-only file system"),
        ("hostname other", "Operation not permitted"),
        ("cat /dev/tty", "Operation not permitted"),
    ] {
        for replica in [&root.replica, &other.replica] {
            let told = stage.node.run_in(replica, command);
            assert!(told.contains(refusal) || told.contains("can't create"), "{command}: {told}");
        }
    }
    assert!(stage.node.run_in(&other.replica, "touch /root/file").contains("Permission denied"));
    stage.end();
}

pub(crate) fn what_is_written_has_an_end_and_goes_with_the_replica() {
    let mut stage = Stage::set();
    let spec = stage.web("writes");
    let told = stage.run(&spec, "dd if=/dev/zero of=/big bs=64k; ls -l /big | wc -l");
    assert!(told.contains("No space left on device"), "{told}");
    let changes = "rm /big; echo changed >/www/index.html; rm -r /www/cgi-bin/../../root; echo new >/bin/new; ls /";
    assert!(!stage.node.run_in(&spec.replica, changes).contains("root"));
    let connection = stage.node.connect(&spec.replica, PORT);
    assert_eq!(get(connection, "/index.html"), "changed");
    let root = tree(&stage.daemon.settings.data, &stage.layer);
    assert_eq!(std::fs::read(root.join("www/index.html")).unwrap(), b"busybox serves this");
    assert!(root.join("root").is_dir() && !root.join("bin/new").exists() && !root.join("big").exists());
    stage.stop(&spec.replica);
    let again = web("writes", 2, &[stage.layer]);
    stage.node.start_image(&again);
    let connection = stage.node.connect(&again.replica, PORT);
    assert_eq!(get(connection, "/index.html"), "busybox serves this");
    stage.end();
}

pub(crate) fn a_read_only_root_can_be_written_to_nowhere_but_in_tmp() {
    let mut stage = Stage::set();
    let spec = with(stage.web("read-only"), |payload| payload.read_only_root = true);
    for place in ["/", "/www/", "/etc/", "/mnt/models/", "/sys/"] {
        let command = format!("touch {place}new");
        let told = if place == "/" { stage.run(&spec, &command) } else { stage.node.run_in(&spec.replica, &command) };
        assert!(told.contains("Read-only file system"), "{place}: {told}");
    }
    let told = stage.node.run_in(&spec.replica, "touch /tmp/new /dev/shm/new && echo done");
    assert_eq!(told, "done");
    for place in ["/tmp/big", "/dev/shm/big"] {
        let told = stage.node.run_in(&spec.replica, &format!("dd if=/dev/zero of={place} bs=64k"));
        assert!(told.contains("No space left on device"), "{told}");
    }
    stage.end();
}

pub(crate) fn replicas_have_ids_of_their_own_and_files_look_the_same() {
    let mut stage = Stage::set();
    let specs = [stage.web("one"), stage.web("two"), web("two", 2, &[stage.layer])];
    let mut bases = BTreeSet::new();
    let is_distinct = ids_can_be_distinct(&stage.daemon.settings.data);
    for spec in &specs {
        let told =
            stage.run(spec, "cat /proc/self/uid_map; cat /proc/self/gid_map; stat -c %u:%g:%a /bin/busybox / /etc");
        let lines: Vec<&str> = told.lines().collect();
        let (maps, files) = lines.split_at(2);
        let fields: Vec<Vec<u32>> =
            maps.iter().map(|map| map.split_whitespace().map(|field| field.parse().unwrap()).collect()).collect();
        assert_eq!((fields[0][0], fields[0][2], &fields[0]), (0, 65_536, &fields[1]));
        assert_eq!(files, ["0:0:755", "0:0:755", "0:0:755"]);
        let is_new = bases.insert(fields[0][1]);
        assert!(is_new || !is_distinct, "{bases:?}");
        let pid = machine::process(&stage.daemon.group(), &spec.replica);
        assert!(machine::status_of(pid, "Uid:").starts_with(&fields[0][1].to_string()));
        assert_eq!(owner_of_user_namespace(pid), fields[0][1], "what is counted for it is not counted for root");
    }
    let bases: Vec<u32> = bases.into_iter().collect();
    assert!(bases.windows(2).all(|pair| pair[1] - pair[0] >= 65_536), "{bases:?}");
    assert_eq!(bases.len(), if is_distinct { specs.len() } else { 1 });
    stage.end();
}

fn owner_of_user_namespace(pid: i32) -> u32 {
    const NS_GET_OWNER_UID: nix::libc::c_ulong = 0xb704;
    let namespace = std::fs::File::open(format!("/proc/{pid}/ns/user")).unwrap();
    let mut owner = u32::MAX;
    // SAFETY: the call writes one uid, which lives until it returns.
    let done = unsafe { nix::libc::ioctl(namespace.as_raw_fd(), NS_GET_OWNER_UID as _, &raw mut owner) };
    assert_eq!(done, 0);
    owner
}

pub(crate) fn the_network_is_a_loopback_and_every_port_is_free() {
    let mut stage = Stage::set();
    let serve = as_user(image("network", 1, &[stage.layer], &["httpd", "-f", "-p", "80", "-h", "/www"]), "web");
    stage.node.start_image(&serve);
    let connection = stage.node.connect(&serve.replica, 80);
    let told = dormouse_driver::images::run_on(
        connection,
        "cat /proc/net/dev; echo; cat /proc/net/route; echo; cat /proc/net/fib_trie",
    );
    let parts: Vec<&str> = told.split("\n\n").collect();
    let names: Vec<&str> = parts[0].lines().skip(2).map(|line| line.split(':').next().unwrap().trim()).collect();
    // Kernels with tunnels built in make their (unconnected) devices in every namespace.
    assert!(names.contains(&"lo") && names.iter().all(|name| *name == "lo" || name.ends_with('0')), "{names:?}");
    assert_eq!(parts[1].lines().skip(1).count(), 0, "no route: {told}");
    assert!(parts[2].contains("127.0.0.1"), "{told}");
    stage.end();
}

pub(crate) fn standard_streams_can_be_opened_by_name() {
    let mut stage = Stage::set();
    let script = "echo out >/dev/stdout; echo error >/dev/stderr; cat /dev/stdin; ls -l /proc/self/fd";
    let spec = as_user(stage.sh("streams", script), "web");
    let log = stage.node.start_image(&spec).log;
    assert_eq!(stage.node.exit_cause(&spec.replica), ExitCause::Code { code: 0 });
    let log = read_log(log);
    assert!(log.starts_with("out\nerror\n"), "{log}");
    let open: Vec<&str> = log.lines().filter_map(|line| line.split(" -> ").nth(1)).collect();
    assert!(open[0] == "/dev/null" && open[1].starts_with("pipe:") && open[1] == open[2], "{log}");
    // The fourth is the directory that is listed.
    assert_eq!(log.lines().filter(|line| line.contains("r-x------") || line.contains("-wx------")).count(), 4, "{log}");
    stage.end();
}

pub(crate) fn links_of_an_image_lead_no_mount_astray() {
    let mut stage = Stage::set();
    let evil = ["proc", "dev", "sys", "tmp", "mnt"]
        .into_iter()
        .fold(Archive::new(), |archive, name| archive.symlink(name, "/www"));
    let evil = stage.unpack(evil.symlink("etc", "/../../../../etc").symlink("run", "/proc/1/root"));
    // And such as are what the files of ours are called.
    let files = Archive::new()
        .directory("etc")
        .symlink("etc/hosts", "/www/index.html")
        .symlink("etc/resolv.conf", "/dev/null")
        .entry(EntryType::Fifo, "etc/passwd", b"", |_| {})
        .directory("mnt")
        .symlink("mnt/models", "/etc");
    let files = stage.unpack(files);
    let spec = web("astray", 1, &[stage.layer, evil]);
    let told = stage.run(
        &spec,
        "stat -c %F /proc /dev /sys /tmp /mnt /etc; cat /etc/hostname; ls /mnt/models; cat /www/index.html; echo; ls /etc",
    );
    assert_eq!(told, format!("{}astray\nbusybox serves this\nhostname\nhosts\nresolv.conf", "directory\n".repeat(6)));
    let spec = web("files", 1, &[stage.layer, files]);
    let reason = stage.refusal(&spec);
    assert!(reason.contains("/etc/passwd") && reason.contains("no file"), "{reason}");
    let spec = with(web("files", 2, &[files, stage.layer]), |payload| payload.read_only_root = true);
    let told = stage.run(&spec, "head -n 1 /etc/hosts; stat -c %F /mnt/models /etc/resolv.conf; cat /www/index.html");
    assert_eq!(told, "127.0.0.1\tlocalhost\ndirectory\nregular empty file\nbusybox serves this");
    assert!(Path::new("/etc/passwd").is_file());
    stage.end();
}

pub(crate) fn layers_hide_what_is_below_and_as_many_as_may_are_mounted() {
    let mut stage = Stage::set();
    let mut layers = vec![stage.layer];
    for number in 1..127 {
        let archive = Archive::new()
            .directory("many")
            .file(&format!("many/{number}"), b"")
            .file("many/last", number.to_string().as_bytes());
        let archive = if number == 126 { archive.file(".wh.root", b"").file("many/.wh.1", b"") } else { archive };
        layers.push(stage.unpack(archive));
    }
    let spec = web("layers", 1, &layers);
    let told = stage.run(&spec, "ls /many | wc -l; cat /many/last; echo; ls -d /root /many/1 /many/2");
    assert!(told.starts_with("126\n126\n"), "{told}");
    assert!(
        told.contains("/root: No such file") && told.contains("/many/1: No such file") && told.ends_with("/many/2"),
        "{told}"
    );
    // A layer that is there twice counts where it lies highest.
    let hides = stage.unpack(Archive::new().directory("www").file("www/.wh.index.html", b""));
    for (serial, layers, expected) in
        [(3, [stage.layer, hides, stage.layer], "/www/index.html"), (4, [hides, stage.layer, hides], "hidden")]
    {
        let told = stage.run(&web("twice", serial, &layers), "ls /www/index.html 2>/dev/null || echo hidden");
        assert_eq!(told, expected);
    }
    layers.push(stage.layer);
    let reason = stage.refusal(&web("layers", 2, &layers));
    assert!(reason.contains("128") && reason.contains("127"), "{reason}");
    stage.end();
}

/// What a program takes as its share of the machine is its limit, wherever a library looks for that.
pub(crate) fn its_own_control_group_can_be_read_and_no_other() {
    let mut stage = Stage::set();
    let neighbour = web("neighbour", 1, &[stage.layer]);
    stage.node.start_image(&neighbour);
    let spec = stage.web("web");
    stage.node.start_image(&spec);
    let mut run = |command: &str| stage.node.run_in(&spec.replica, command);
    assert_eq!(run("cut -d: -f3 /proc/self/cgroup | sort -u"), "/");
    let is_v2 = run("test -f /sys/fs/cgroup/memory.max && echo yes") == "yes";
    let file = |v2: &str, v1: &str| format!("/sys/fs/cgroup/{}", if is_v2 { v2 } else { v1 });
    let memory = file("memory.max", "memory/memory.limit_in_bytes");
    assert_eq!(run(&format!("cat {memory}")), spec.limits.memory.get().to_string());
    let processes = file("pids.max", "pids/pids.max");
    assert_eq!(run(&format!("cat {processes}")), spec.limits.pids.to_string());
    let processors = run(&format!("cat {}", file("cpu.max", "cpu/cpu.cfs_quota_us")));
    let (quota, period) = (processors.split(' ').next().unwrap().parse::<u64>().unwrap(), 100_000);
    assert_eq!(quota * 1_000 / period, u64::from(spec.limits.cpu.milli()));
    let members = file("cgroup.procs", "memory/cgroup.procs");
    assert_eq!(run(&format!("sort -n {members} | head -1")), "1", "no process of another container has a number here");
    // On v1 a directory for each controller, and nothing below.
    let depth = if is_v2 { 1 } else { 2 };
    assert_eq!(run(&format!("find /sys/fs/cgroup -mindepth {depth} -type d")), "");
    for attempt in [format!("echo max >{memory}"), format!("echo 1 >{members}"), "mkdir $(dirname $0)/x".to_owned()] {
        let attempt = attempt.replace("$(dirname $0)", memory.rsplit_once('/').unwrap().0);
        let told = run(&format!("{attempt} 2>&1"));
        assert!(told.contains("Read-only file system"), "{attempt}: {told}");
    }
    stage.end();
}

/// Nothing else of /sys is there.
pub(crate) fn which_processors_there_are_can_be_read() {
    let mut stage = Stage::set();
    let spec = stage.web("web");
    stage.node.start_image(&spec);
    let mut run = |command: &str| stage.node.run_in(&spec.replica, command);
    let of_host = fs::read_to_string("/sys/devices/system/cpu/possible").unwrap();
    assert_eq!(run("cat /sys/devices/system/cpu/possible"), of_host.trim_end());
    assert_eq!(
        run("cd /sys; echo * devices/* devices/system/* fs/*"),
        "devices fs devices/system devices/system/cpu fs/cgroup"
    );
    let told = run("echo 0 2>&1 >/sys/devices/system/cpu/cpu0/uevent");
    assert!(told.contains("Read-only file system"), "{told}");
    stage.end();
}

//! Ways out of replicas' networks. Needs pasta or slirp4netns, and the module tun.
//!
//! The daemon of each test is on a machine of its own: a network namespace with one neighbour, who has a web server,
//! and a resolver on the machine itself, as many systems have it.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, TcpListener, UdpSocket},
    os::fd::AsFd,
    process::{Child, Command, Stdio},
};

use dormouse_driver::{
    images::{BUSYBOX, PORT, with},
    machine::{self, until},
};
use dormouse_sandbox::messages::{ExitCause, ReplicaSpec};
use dormouse_spec::Network;
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, setns, unshare},
};

use crate::images::Stage;

const NODE: &str = "198.51.100.1";
const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
const RESOLVER: &str = "127.0.0.53:53";

/// A network with one neighbour. The test is in it until this is dropped.
struct Neighbourhood {
    before: [File; 2],
    _home: tempfile::TempDir,
    processes: Vec<Child>,
}

impl Neighbourhood {
    fn enter() -> Self {
        let before = ["mnt", "net"].map(|kind| File::open(format!("/proc/self/ns/{kind}")).unwrap());
        let home = tempfile::tempdir().unwrap();
        let mut neighbour = spawn("unshare", &["--net", "sleep", "1000"]);
        until("the neighbour has a network", || {
            let of = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/net")).ok();
            of(neighbour.id()).is_some_and(|its| Some(its) != of(std::process::id()))
        });
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).unwrap();
        let mut here = Self { before, _home: home, processes: Vec::new() };
        let pid = neighbour.id().to_string();
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
        let conf = here._home.path().join("resolv.conf");
        fs::write(&conf, "nameserver 127.0.0.53\n").unwrap();
        mount(Some(&conf), "/etc/resolv.conf", None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
        let inside = |arguments: &[&str]| run("nsenter", &[&["--target", &pid, "--net"], arguments].concat());
        run("ip", &["link", "set", "lo", "up"]);
        run("ip", &["link", "add", "uplink", "type", "veth", "peer", "name", "downlink", "netns", &pid]);
        run("ip", &["address", "add", &format!("{NODE}/24"), "dev", "uplink"]);
        run("ip", &["link", "set", "uplink", "up"]);
        inside(&["ip", "address", "add", &format!("{NEIGHBOUR}/24"), "dev", "downlink"]);
        inside(&["ip", "link", "set", "downlink", "up"]);
        run("ip", &["route", "add", "default", "via", &NEIGHBOUR.to_string()]);
        fs::write(here._home.path().join("index.html"), "from outside").unwrap();
        let root = here._home.path().to_str().unwrap().to_owned();
        let server = ["--target", &pid, "--net", BUSYBOX, "httpd", "-f", "-p", "80", "-h", &root];
        here.processes.push(spawn("nsenter", &server));
        here.processes.push(spawn(std::env::current_exe().unwrap().to_str().unwrap(), &["resolver"]));
        let _ = neighbour.try_wait();
        here.processes.push(neighbour);
        until("the neighbour serves", || std::net::TcpStream::connect((NEIGHBOUR, 80)).is_ok());
        here
    }
}

impl Drop for Neighbourhood {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
        let [mounts, network] = &self.before;
        setns(network.as_fd(), CloneFlags::CLONE_NEWNET).unwrap();
        setns(mounts.as_fd(), CloneFlags::CLONE_NEWNS).unwrap();
    }
}

fn spawn(program: &str, arguments: &[&str]) -> Child {
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"))
}

fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(status.success(), "{program} {arguments:?}: {status}");
}

/// Answers every question for an address with the neighbour's, until it is killed.
pub(crate) fn resolver() -> ! {
    let socket = UdpSocket::bind(RESOLVER).unwrap();
    let mut question = [0; 512];
    loop {
        let (length, client) = socket.recv_from(&mut question).unwrap();
        let end = question[12..length].iter().position(|byte| *byte == 0).unwrap() + 12 + 5;
        let is_for_ipv4 = question[end - 4..end - 2] == [0, 1];
        let mut answer = question[..end].to_vec();
        answer[2..4].copy_from_slice(&[0x81, 0x80]);
        answer[4..12].copy_from_slice(&[0, 1, 0, u8::from(is_for_ipv4), 0, 0, 0, 0]);
        if is_for_ipv4 {
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
            answer.extend(NEIGHBOUR.octets());
        }
        socket.send_to(&answer, client).unwrap();
    }
}

fn outward(stage: &Stage, endpoint: &str) -> ReplicaSpec {
    with(stage.web(endpoint), |payload| payload.network = Network::Egress)
}

pub(crate) fn reaches_what_the_node_reaches_by_address_and_by_name() {
    let here = Neighbourhood::enter();
    let mut stage = Stage::set();
    let spec = outward(&stage, "outward");
    let said = stage.run(
        &spec,
        "cat /etc/resolv.conf; busybox wget -q -O - http://198.51.100.2/; echo; \
         busybox wget -q -O - http://neighbour.test/; echo; ip -4 -o addr show dev eth0 | grep -o 'inet [0-9.]*'",
    );
    assert_eq!(said, "nameserver 10.0.2.3\nfrom outside\nfrom outside\ninet 10.0.2.100");
    // Beside it one without a way out has none.
    let alone = stage.web("alone");
    let said =
        stage.run(&alone, "ip -o link | wc -l; busybox wget -q -O - http://198.51.100.2/ 2>/dev/null || echo nothing");
    assert_eq!(said, "1\nnothing");
    stage.end();
    drop(here);
}

pub(crate) fn does_not_reach_the_node() {
    let here = Neighbourhood::enter();
    let mut stage = Stage::set();
    let spec = outward(&stage, "outward");
    stage.node.start_image(&spec);
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let datagrams = UdpSocket::bind("0.0.0.0:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    datagrams.set_nonblocking(true).unwrap();
    let (port, datagram_port) = (listener.local_addr().unwrap().port(), datagrams.local_addr().unwrap().port());
    let is_reached = || listener.accept().is_ok() || datagrams.recv(&mut [0; 8]).is_ok();
    // Whoever is on the node reaches both.
    drop(std::net::TcpStream::connect((NODE, port)).unwrap());
    assert!(is_reached());
    UdpSocket::bind("0.0.0.0:0").unwrap().send_to(b"hello", (NODE, datagram_port)).unwrap();
    assert!(is_reached());
    // By its address, by the gateway's, by the resolver's, and by what would be its loopback.
    for address in [NODE, "10.0.2.2", "10.0.2.3", "127.0.0.53"] {
        let tries = format!(
            "echo hello | busybox timeout 2 busybox nc -w 1 {address} {port} 2>/dev/null; \
             echo hello | busybox timeout 2 busybox nc -u -w 1 {address} {datagram_port} 2>/dev/null; echo tried"
        );
        assert!(stage.node.run_in(&spec.replica, &tries).ends_with("tried"));
        assert!(!is_reached(), "{address}");
    }
    // The resolver's port on the node is what it looks names up by, and nothing else listens there.
    assert_eq!(stage.node.run_in(&spec.replica, "busybox wget -q -O - http://neighbour.test/"), "from outside");
    stage.end();
    drop(here);
}

fn helper_of(stage: &Stage, spec: &ReplicaSpec) -> i32 {
    let inside = machine::process(&stage.daemon.group(), &spec.replica);
    let processes = machine::processes(&stage.daemon.group(), &spec.replica);
    let is_helper = |pid: &&i32| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        **pid != inside && (name.starts_with("pasta") || name.starts_with("slirp"))
    };
    *processes.iter().find(is_helper).unwrap_or_else(|| panic!("{processes:?}"))
}

pub(crate) fn its_helper_is_confined_and_ends_with_it() {
    let here = Neighbourhood::enter();
    let mut stage = Stage::set();
    let spec = outward(&stage, "outward");
    stage.node.start_image(&spec);
    drop(stage.node.connect(&spec.replica, PORT));
    let helper = helper_of(&stage, &spec);
    let status = fs::read_to_string(format!("/proc/{helper}/status")).unwrap();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    let uid: u32 = field("Uid:").split_whitespace().next().unwrap().parse().unwrap();
    assert!(uid > 65_536 && field("Uid:") == [uid.to_string().as_str(); 4].join("\t"), "{status}");
    assert_eq!((field("Groups:").as_str(), field("NoNewPrivs:").as_str(), field("Seccomp:").as_str()), ("", "1", "2"));
    let namespace = |pid: i32, kind: &str| fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
    let us = std::process::id().cast_signed();
    assert_ne!(namespace(helper, "user"), namespace(us, "user"), "what rights it has are over the replica's network");
    assert_ne!(namespace(helper, "mnt"), namespace(us, "mnt"));
    // It rests with its replica, and passes packets again.
    stage.node.freeze(&spec.replica);
    stage.node.thaw(&spec.replica);
    assert_eq!(stage.node.run_in(&spec.replica, "busybox wget -q -O - http://198.51.100.2/"), "from outside");
    stage.stop(&spec.replica);
    until("the helper ends", || !fs::exists(format!("/proc/{helper}")).unwrap());
    // Without it a replica would wait for answers that never come.
    let spec =
        with(dormouse_driver::images::web("outward", 2, &[stage.layer]), |payload| payload.network = Network::Egress);
    stage.node.start_image(&spec);
    drop(stage.node.connect(&spec.replica, PORT));
    let helper = nix::unistd::Pid::from_raw(helper_of(&stage, &spec));
    nix::sys::signal::kill(helper, nix::sys::signal::Signal::SIGKILL).unwrap();
    assert_eq!(stage.node.exit_cause(&spec.replica), ExitCause::NetworkEnded);
    stage.end();
    drop(here);
}

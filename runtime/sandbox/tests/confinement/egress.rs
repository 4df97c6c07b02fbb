//! Ways out of replicas' networks. Needs pasta or slirp4netns, and the module tun.
//!
//! The daemon of each test is on a machine of its own, with one neighbour, and with a resolver on the machine itself, as
//! many systems have it.

use std::{
    fs, io,
    net::{TcpListener, TcpStream, UdpSocket},
    os::unix::process::CommandExt,
    process::Command,
};

use dormouse_driver::{
    images::{PORT, web, with},
    machine::{self, until},
    neighbourhood::{NEIGHBOUR, NODE, Neighbourhood},
};
use dormouse_sandbox::messages::{ExitCause, ReplicaSpec};
use dormouse_spec::Network;
use nix::{
    mount::{MsFlags, mount},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::images::Stage;

const RESOLVER: &str = "127.0.0.53:53";

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

/// Somewhere else, with the resolver.
fn elsewhere() -> Neighbourhood {
    let mut here = Neighbourhood::enter();
    here.run_beside(std::env::current_exe().unwrap().to_str().unwrap(), &["resolver"]);
    here
}

fn outward(stage: &Stage, endpoint: &str) -> ReplicaSpec {
    with(stage.web(endpoint), |payload| payload.network = Network::Egress)
}

pub(crate) fn reaches_what_the_node_reaches_by_address_and_by_name() {
    let here = elsewhere();
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
    drop(here);
    stage.end();
}

pub(crate) fn does_not_reach_the_node() {
    let here = elsewhere();
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
    drop(TcpStream::connect((NODE, port)).unwrap());
    assert!(is_reached());
    UdpSocket::bind("0.0.0.0:0").unwrap().send_to(b"hello", (NODE, datagram_port)).unwrap();
    assert!(is_reached());
    // By its address, by the gateway's, by the resolver's, and by what would be its loopback: all at once, since each
    // keeps one waiting.
    let tries = [NODE, "10.0.2.2", "10.0.2.3", "127.0.0.53"].map(|address| {
        format!(
            "(echo hello | busybox timeout 2 busybox nc -w 1 {address} {port} 2>/dev/null; \
             echo hello | busybox timeout 2 busybox nc -u -w 1 {address} {datagram_port} 2>/dev/null) & "
        )
    });
    assert_eq!(stage.node.run_in(&spec.replica, &format!("{}wait; echo tried", tries.concat())), "tried");
    assert!(!is_reached());
    // Nor by a group that a service of the node is in, of which the kernel would keep it a copy.
    let (group, interface) = (std::net::Ipv4Addr::new(224, 0, 0, 251), NODE.parse().unwrap());
    let of_group = UdpSocket::bind("0.0.0.0:5353").unwrap();
    of_group.join_multicast_v4(&group, &interface).unwrap();
    of_group.set_nonblocking(true).unwrap();
    let own = UdpSocket::bind((NODE, 0)).unwrap();
    own.send_to(b"hello", (group, 5353)).unwrap();
    until("whoever is on the node reaches the group", || of_group.recv(&mut [0; 8]).is_ok());
    let tries = "echo hello | busybox timeout 2 busybox nc -u -w 1 224.0.0.251 5353 2>/dev/null; echo tried";
    assert!(stage.node.run_in(&spec.replica, tries).ends_with("tried"));
    assert!(of_group.recv(&mut [0; 8]).is_err());
    // The resolver's port on the node is what it looks names up by, and nothing else listens there.
    assert_eq!(stage.node.run_in(&spec.replica, "busybox wget -q -O - http://neighbour.test/"), "from outside");
    drop(here);
    stage.end();
}

fn helper_of(stage: &Stage, spec: &ReplicaSpec) -> i32 {
    let group = stage.daemon.group();
    // On v2 it has a group below its replica's.
    let below = machine::processes_of(&group, &format!("{}/outside", spec.replica));
    let processes = [machine::processes(&group, &spec.replica), below].concat();
    let is_helper = |pid: &&i32| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        // pasta is passt by another name, and may execute a build of it for this processor.
        ["pasta", "passt", "slirp"].iter().any(|helper| name.starts_with(helper))
    };
    *processes.iter().find(is_helper).unwrap_or_else(|| panic!("{processes:?}"))
}

/// Connects to a group of machines by an address of version 6, in the control group of `process` if there is one.
fn connect_to_group(process: Option<i32>) -> io::Result<()> {
    let list = process.map(|pid| {
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        let path = groups.lines().find_map(|line| line.strip_prefix("0::/")).unwrap();
        machine::groups(path).into_iter().map(|group| group.join("cgroup.procs")).collect::<Vec<_>>()
    });
    let connect = move || {
        list.iter().flatten().try_for_each(|list| fs::write(list, "0"))?;
        let socket = UdpSocket::bind("[::]:0")?;
        socket.connect("[::ffff:224.0.0.251]:5353")
    };
    let mut command = Command::new("true");
    // SAFETY: no other thread of this process holds a lock meanwhile: it waits for this one.
    unsafe { command.pre_exec(connect) };
    command.status().map(|status| assert!(status.success()))
}

pub(crate) fn its_helper_reaches_no_group_by_another_spelling() {
    let here = elsewhere();
    let mut stage = Stage::set();
    let spec = outward(&stage, "outward");
    stage.node.start_image(&spec);
    connect_to_group(None).expect("whoever is on the node may");
    let error = connect_to_group(Some(helper_of(&stage, &spec))).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}");
    drop(here);
    stage.end();
}

pub(crate) fn its_helper_is_confined_and_ends_with_it() {
    let here = elsewhere();
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
    // Of its group, which on v2 is below the one that the container sees, nothing is told there.
    assert_eq!(stage.node.run_in(&spec.replica, "ls -A /sys/fs/cgroup/outside 2>/dev/null"), "");
    // It rests with its replica, and passes packets again.
    stage.node.freeze(&spec.replica);
    stage.node.thaw(&spec.replica);
    assert_eq!(stage.node.run_in(&spec.replica, "busybox wget -q -O - http://198.51.100.2/"), "from outside");
    stage.stop(&spec.replica);
    until("the helper ends", || !fs::exists(format!("/proc/{helper}")).unwrap());
    // Without it a replica would wait for answers that never come.
    let spec = with(web("outward", 2, &[stage.layer]), |payload| payload.network = Network::Egress);
    stage.node.start_image(&spec);
    drop(stage.node.connect(&spec.replica, PORT));
    kill(Pid::from_raw(helper_of(&stage, &spec)), Signal::SIGKILL).unwrap();
    assert_eq!(stage.node.exit_cause(&spec.replica), ExitCause::NetworkEnded);
    drop(here);
    stage.end();
}

/// A daemon that is started after this finds something else in their place.
fn put_out_of_order(programs: &[&str]) {
    for program in programs {
        let program = fs::canonicalize(program).unwrap();
        mount(Some("/bin/false"), &program, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
    }
}

pub(crate) fn where_one_helper_fails_the_other_is_taken() {
    let here = elsewhere();
    put_out_of_order(&["/usr/bin/pasta"]);
    let mut stage = Stage::set();
    let spec = outward(&stage, "outward");
    stage.node.start_image(&spec);
    let name = "cat /etc/resolv.conf; busybox wget -q -O - http://neighbour.test/";
    assert_eq!(stage.node.run_in(&spec.replica, name), "nameserver 10.0.2.3\nfrom outside");
    let comm = fs::read_to_string(format!("/proc/{}/comm", helper_of(&stage, &spec))).unwrap();
    assert!(comm.starts_with("slirp4netns"), "{comm}");
    drop(here);
    stage.end();
}

pub(crate) fn where_all_fail_it_is_told_what_they_said() {
    let here = elsewhere();
    put_out_of_order(&["/usr/bin/pasta", "/usr/bin/slirp4netns"]);
    let mut stage = Stage::set();
    let spec = outward(&stage, "outward");
    let told = stage.refusal(&spec);
    let reasons = ["the replica cannot reach other machines", "pasta: ", "slirp4netns: "];
    assert!(reasons.iter().all(|reason| told.contains(reason)), "{told}");
    drop(here);
    stage.end();
}

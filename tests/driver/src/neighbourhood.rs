//! A machine of its own for a test: a network namespace with one neighbour. Needs `ip`, `unshare` and `nsenter`.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, TcpStream},
    os::fd::AsFd,
    process::{Child, Command, Stdio},
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, setns, unshare},
};

use crate::{images::BUSYBOX, machine::until};

/// The machine's address there.
pub const NODE: &str = "198.51.100.1";
/// And the neighbour's, who serves `from outside` at its port 80.
pub const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);

/// A network with one neighbour, and a resolver at 127.0.0.53 in /etc/resolv.conf. The test is in it until this is dropped.
#[derive(Debug)]
pub struct Neighbourhood {
    before: [File; 2],
    _home: tempfile::TempDir,
    processes: Vec<Child>,
}

impl Neighbourhood {
    #[must_use]
    pub fn enter() -> Self {
        let before = ["mnt", "net"].map(|kind| File::open(format!("/proc/self/ns/{kind}")).unwrap());
        let home = tempfile::tempdir().unwrap();
        let neighbour = spawn("unshare", &["--net", "sleep", "1000"]);
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
        here.run_beside("nsenter", &server);
        here.processes.push(neighbour);
        until("the neighbour serves", || TcpStream::connect((NEIGHBOUR, 80)).is_ok());
        here
    }

    /// Starts a program on the machine, until this is dropped.
    pub fn run_beside(&mut self, program: &str, arguments: &[&str]) {
        self.processes.push(spawn(program, arguments));
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

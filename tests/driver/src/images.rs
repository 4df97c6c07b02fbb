//! Processes of images: a small image with a shell and a web server, replicas of it, and talking to them.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    process::Command,
};

use dormouse_sandbox::messages::{
    Compression, Event, ImagePayload, ImageUser, Payload, ReplicaId, ReplicaSpec, Request, SocketKind,
};
use dormouse_spec::{Digest, EnvVar, Network, StopSignal};
use rustix::{
    io::Errno,
    net::{Ipv4Addr, SocketAddrV4},
};
use serde_json::Value;
use tar::EntryType;

use crate::{
    layers::{Archive, Blob, blob_path, give_to_node, make_store, store},
    machine::{DEADLINE, until},
    node::{Node, Started},
    script::{LIMITS, replica_of},
};

/// A shell, a web server and everything else, in one file without libraries.
pub const BUSYBOX: &str = "/usr/bin/busybox";
/// Where the web server listens.
pub const PORT: u16 = 8080;
/// What the image calls its programs.
const APPLETS: [&str; 27] = [
    "cat", "chmod", "dd", "env", "grep", "head", "hostname", "httpd", "id", "ip", "kill", "ln", "ls", "mkdir", "mknod",
    "mount", "rm", "seq", "sh", "sleep", "stat", "tr", "true", "touch", "umount", "unshare", "wc",
];
/// Runs what it is sent, so that a test can be anywhere in the container.
const RUN: &[u8] = b"#!/bin/sh\necho; exec /bin/sh 2>&1\n";
const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/www:/bin/sh\nother:x:1234:1234::/:/bin/sh\n";
const GROUP: &[u8] = b"root:x:0:\nwww:x:34:\nlog:x:4:web\n";

/// What this machine lacks to run processes of images.
pub fn missing() -> Option<String> {
    let is_there = Path::new(BUSYBOX).is_file();
    (!is_there).then(|| format!("no {BUSYBOX}: install busybox-static, or run `make setup`"))
}

/// The one layer of the image, for a test to add to.
#[must_use]
pub fn archive() -> Archive {
    let executable = |header: &mut tar::Header| header.set_mode(0o755);
    let busybox = fs::read(BUSYBOX).unwrap();
    let programs = Archive::new()
        .directory("bin")
        .entry(EntryType::Regular, "bin/busybox", &busybox, executable)
        .directory("etc")
        .file("etc/passwd", PASSWD)
        .file("etc/group", GROUP)
        .directory("root")
        .directory("www")
        .file("www/index.html", b"busybox serves this")
        .directory("www/cgi-bin")
        .entry(EntryType::Regular, "www/cgi-bin/run", RUN, executable);
    APPLETS.iter().fold(programs, |archive, applet| archive.symlink(&format!("bin/{applet}"), "busybox"))
}

/// Adds a program of this machine's, at `place`, with the libraries that it is linked to.
#[must_use]
pub fn with_program(archive: Archive, program: &Path, place: &str) -> Archive {
    let executable = |header: &mut tar::Header| header.set_mode(0o755);
    let add = |archive: Archive, (path, content): (String, Vec<u8>)| {
        archive.entry(EntryType::Regular, &path[1..], &content, executable)
    };
    files_of_program(program, place).into_iter().fold(archive, add)
}

/// A program of this machine's as it is to be found at `place`, and the libraries that it is linked to.
#[must_use]
pub fn files_of_program(program: &Path, place: &str) -> Vec<(String, Vec<u8>)> {
    // As ldd does it, which not every machine has.
    let told = Command::new(program).env("LD_TRACE_LOADED_OBJECTS", "1").output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    // `NAME => PATH (ADDRESS)`, or the linker's path alone.
    let words = told.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    let of = |path: &str| (path.to_owned(), fs::read(path).unwrap());
    // With what is there for a debugger it would be larger than any layer here.
    let stripped = tempfile::NamedTempFile::new().unwrap();
    match Command::new("strip").arg("-o").arg(stripped.path()).arg(program).status() {
        Ok(status) => assert!(status.success(), "{status}"),
        // A machine without it was given programs that are small already.
        Err(_) => drop(fs::copy(program, stripped.path()).unwrap()),
    }
    let program = (place.to_owned(), fs::read(stripped.path()).unwrap());
    std::iter::once(program).chain(words.map(of)).collect()
}

/// The web server of the image, as its root.
#[must_use]
pub fn web(endpoint: &str, serial: u64, layers: &[Digest]) -> ReplicaSpec {
    image(endpoint, serial, layers, &["httpd", "-f", "-p", &PORT.to_string(), "-h", "/www"])
}

/// A process of an image of these layers, as its root.
#[must_use]
pub fn image(endpoint: &str, serial: u64, layers: &[Digest], args: &[&str]) -> ReplicaSpec {
    let payload = ImagePayload {
        layers: layers.to_vec(),
        args: args.iter().map(|argument| (*argument).to_owned()).collect(),
        env: vec![EnvVar::new("GREETING".to_owned(), "hello".to_owned()).unwrap()],
        working_dir: "/".to_owned(),
        user: ImageUser { of_image: String::new(), uid: None, gid: None },
        stop_signal: StopSignal::TERM,
        read_only_root: false,
        volumes: Vec::new(),
        network: Network::None,
        commands: Vec::new(),
    };
    ReplicaSpec { payload: Payload::Image(Box::new(payload)), limits: LIMITS, ..replica_of(endpoint, serial) }
}

/// The same with something changed.
#[must_use]
pub fn with(mut spec: ReplicaSpec, change: impl FnOnce(&mut ImagePayload)) -> ReplicaSpec {
    if let Payload::Image(payload) = &mut spec.payload {
        change(payload);
    }
    spec
}

/// The same as this user.
#[must_use]
pub fn as_user(spec: ReplicaSpec, user: &str) -> ReplicaSpec {
    with(spec, |payload| user.clone_into(&mut payload.user.of_image))
}

/// An OCI image layout of `make setup`'s that is to be run: its own process, over its layers.
#[derive(Debug)]
pub struct Layout {
    pub layers: Vec<Blob>,
    pub config: Value,
}

impl Layout {
    /// Takes its blobs into the node's store.
    #[must_use]
    pub fn take(data: &Path, name: &str) -> Self {
        let place = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/setup/images")).join(name);
        let path = |digest: &str| place.join("blobs/sha256").join(digest.strip_prefix("sha256:").unwrap());
        let json = |path: &Path| -> Value {
            let text = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}: run `make setup`", path.display()));
            serde_json::from_slice(&text).unwrap()
        };
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let manifest = json(&path(&text(&json(&place.join("index.json"))["manifests"][0]["digest"])));
        let config = json(&path(&text(&manifest["config"]["digest"])));
        let blobs = manifest["layers"].as_array().unwrap().iter().zip(config["rootfs"]["diff_ids"].as_array().unwrap());
        make_store(data);
        let take = |(blob, diff_id): (&Value, &Value)| {
            let digest: Digest = text(&blob["digest"]).parse().unwrap();
            let to = blob_path(data, &digest);
            fs::copy(path(&text(&blob["digest"])), &to).unwrap();
            give_to_node(&to);
            Blob { blob: digest, diff_id: text(diff_id).parse().unwrap(), compression: Compression::Gzip }
        };
        let layers = blobs.map(take).collect();
        Self { layers, config: config["config"].clone() }
    }

    fn texts(&self, field: &str) -> Vec<String> {
        let values = self.config[field].as_array().into_iter().flatten();
        values.map(|value| value.as_str().unwrap().to_owned()).collect()
    }

    /// Its own process.
    #[must_use]
    pub fn replica(&self, endpoint: &str, serial: u64) -> ReplicaSpec {
        let layers: Vec<Digest> = self.layers.iter().map(|layer| layer.diff_id).collect();
        let words = [self.texts("Entrypoint"), self.texts("Cmd")].concat();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        with(image(endpoint, serial, &layers, &words), |payload| {
            let variable = |text: String| {
                let (name, value) = text.split_once('=').unwrap();
                EnvVar::new(name.to_owned(), value.to_owned()).unwrap()
            };
            payload.env = self.texts("Env").into_iter().map(variable).collect();
            self.config["User"].as_str().unwrap_or_default().clone_into(&mut payload.user.of_image);
            self.config["WorkingDir"].as_str().unwrap_or("/").clone_into(&mut payload.working_dir);
        })
    }
}

impl Node {
    /// Unpacks the image, whatever else a test put into it.
    pub fn unpack_image(&mut self, data: &Path, archive: Archive) -> Digest {
        let layer = store(data, &archive.finish(), Compression::None);
        self.unpack(&layer).unwrap_or_else(|reason| panic!("{reason}"));
        layer.diff_id
    }

    /// Creates a process of an image; whether it serves is another matter.
    pub fn start_image(&mut self, spec: &ReplicaSpec) -> Started {
        self.ask(&Request::Create(Box::new(spec.clone())));
        self.created(&spec.replica)
    }

    /// A socket in the network of a replica, or why there is none.
    pub fn socket_in(&mut self, replica: &ReplicaId) -> Result<OwnedFd, String> {
        self.socket_of(replica, SocketKind::Network)
    }

    /// The same of either kind.
    pub fn socket_of(&mut self, replica: &ReplicaId, kind: SocketKind) -> Result<OwnedFd, String> {
        self.ask(&Request::Socket { replica: replica.clone(), kind });
        match self.of_with_descriptors(replica) {
            (Event::Socket { .. }, mut descriptors) => Ok(descriptors.pop().expect("it comes with the socket")),
            (Event::NoSocket { reason, .. }, _) => Err(reason),
            (other, _) => panic!("{other:?}"),
        }
    }

    /// A connection to a port of a replica, once something listens there.
    pub fn connect(&mut self, replica: &ReplicaId, port: u16) -> TcpStream {
        let mut connected = None;
        until("the replica listens", || {
            connected = self.try_connect(replica, port);
            connected.is_some()
        });
        connected.unwrap()
    }

    /// One attempt.
    pub fn try_connect(&mut self, replica: &ReplicaId, port: u16) -> Option<TcpStream> {
        let socket = self.socket_in(replica).unwrap();
        rustix::io::ioctl_fionbio(socket.as_fd(), false).unwrap();
        match rustix::net::connect(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)) {
            Ok(()) => Some(socket.into()),
            Err(Errno::CONNREFUSED) => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// What a command prints in a replica that is the image's web server.
    pub fn run_in(&mut self, replica: &ReplicaId, command: &str) -> String {
        let connection = self.connect(replica, PORT);
        run_on(connection, command)
    }
}

/// The same over a connection that is there.
#[must_use]
pub fn run_on(mut connection: TcpStream, command: &str) -> String {
    let length = command.len();
    write!(connection, "POST /cgi-bin/run HTTP/1.0\r\nContent-Length: {length}\r\n\r\n{command}").unwrap();
    body(connection)
}

/// What is served at a path.
#[must_use]
pub fn get(mut connection: TcpStream, path: &str) -> String {
    write!(connection, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
    body(connection)
}

fn body(mut connection: TcpStream) -> String {
    connection.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut bytes = Vec::new();
    connection.read_to_end(&mut bytes).unwrap();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").or_else(|| text.split_once("\n\n")).unwrap_or((&text, ""));
    assert!(head.starts_with("HTTP/1."), "{text}");
    body.trim_end().to_owned()
}

/// Whether this kernel can show layers that lie there with other ids: a file system in memory only since 6.3.
pub fn ids_can_be_distinct(data: &Path) -> bool {
    let in_memory = [nix::sys::statfs::TMPFS_MAGIC, nix::sys::statfs::FsType(0x8584_58f6)];
    let is_in_memory = in_memory.contains(&nix::sys::statfs::statfs(data).unwrap().filesystem_type());
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers =
        release.split(|character: char| !character.is_ascii_digit()).map_while(|it| it.parse::<u32>().ok());
    let version = (numbers.next().unwrap(), numbers.next().unwrap());
    version >= (6, 3) || (!is_in_memory && version >= (5, 19))
}

//! The admin socket: who may speak, and what those who may can do.

use std::{
    fs::{self, File, OpenOptions},
    io::{IoSlice, Read, Write},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::{fs::OpenOptionsExt, fs::PermissionsExt, net::UnixStream},
    },
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use dormouse_attacks::{Ground, Outcome};
use dormouse_tests::{Connection, Daemon, Request, paths, processes};
use nix::libc;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use serde_json::json;

use crate::target::{Memory, home, identity};

const NOBODY: u32 = 65_534;
/// How long an answer may take.
const WAIT: Duration = Duration::from_secs(30);
/// What the kernel carries at once.
const DESCRIPTORS: usize = 253;
/// Messages of so many descriptors on one connection.
const MESSAGES: usize = 3;
const DOCUMENT_BYTES: usize = 128 << 20;

fn socket(daemon: &Daemon) -> PathBuf {
    daemon.home().run().join("admin.sock")
}

/// The number of a group or user.
fn id_of(file: &str, name: &str) -> u32 {
    let text = fs::read_to_string(file).unwrap();
    let line = text.lines().find(|line| line.split(':').next() == Some(name)).unwrap();
    line.split(':').nth(2).unwrap().parse().unwrap()
}

/// Does something as somebody else, in a thread that is no other's.
fn as_user<T: Send>(uid: u32, gid: u32, act: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let acting = scope.spawn(|| {
            // SAFETY: these calls touch no memory; made directly, they change this thread alone.
            let changed = unsafe {
                libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<libc::gid_t>()) == 0
                    && libc::syscall(libc::SYS_setresgid, gid, gid, gid) == 0
                    && libc::syscall(libc::SYS_setresuid, uid, uid, uid) == 0
            };
            assert!(changed, "becoming uid {uid}");
            act()
        });
        acting.join().unwrap()
    })
}

/// The first line of what comes back for these bytes.
fn answer_to(stream: UnixStream, bytes: &[u8]) -> String {
    all_of_answer_to(stream, bytes).lines().next().unwrap_or("nothing").to_owned()
}

fn all_of_answer_to(mut stream: UnixStream, bytes: &[u8]) -> String {
    stream.set_read_timeout(Some(WAIT)).unwrap();
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

pub(crate) fn strangers(ground: &Ground) -> Outcome {
    let daemon = home(ground).start();
    let endpoint = identity(&daemon);
    let (socket, admins) = (socket(&daemon), id_of("/etc/group", "dormouse-admin"));
    // The socket's mode is a line of defence of its own; this is about the one behind it.
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
    let strangers = [
        ("nobody", NOBODY, NOBODY),
        ("the node's user", id_of("/etc/passwd", "dormouse"), admins),
        ("the endpoint's own user", processes::uid(endpoint.processes()[0]), admins),
    ];
    // No parser would answer the second with anything but 400.
    let asks: [&[u8]; 2] = [b"GET /v1/endpoints HTTP/1.1\r\nhost: a\r\n\r\n", b"\0\xff is no HTTP \r\n\r\n"];
    for (who, uid, gid) in strangers {
        for ask in asks {
            let answer = as_user(uid, gid, || answer_to(UnixStream::connect(&socket).unwrap(), ask));
            if !answer.starts_with("HTTP/1.1 403 ") {
                return Outcome::GotThrough(format!("{who} gets {answer}"));
            }
        }
    }
    let admitted = as_user(NOBODY, admins, || answer_to(UnixStream::connect(&socket).unwrap(), asks[0]));
    assert!(admitted.starts_with("HTTP/1.1 200 "), "a member of the group gets {admitted}");
    Outcome::Stopped(format!("{} users get 403 whatever they send, a member of the group is served", strangers.len()))
}

fn send_descriptors(stream: &UnixStream, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> rustix::io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    assert!(ancillary.push(SendAncillaryMessage::ScmRights(descriptors)));
    rustix::net::sendmsg(stream, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)
}

/// A model that the node's user may read, and nobody else.
fn secret(daemon: &Daemon) -> PathBuf {
    let path = daemon.home().path().join("secret.onnx");
    fs::copy(paths::fixture("scalar.onnx"), &path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    let node = id_of("/etc/passwd", "dormouse");
    std::os::unix::fs::chown(&path, Some(node), Some(node)).unwrap();
    path
}

/// Opens a file without a right to read it, which needs none.
fn point_at(path: &Path) -> File {
    OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path).unwrap()
}

pub(crate) fn pointers(ground: &Ground) -> Outcome {
    let daemon = home(ground).start();
    let (socket, admins, secret) = (socket(&daemon), id_of("/etc/group", "dormouse-admin"), secret(&daemon));
    let order = json!({ "endpoint": { "name": "stolen" }, "files": [{ "path": "model.onnx" }] }).to_string();
    let request = Request::post("/v1/endpoints", order).bytes();
    let answer = as_user(NOBODY, admins, || {
        assert!(File::open(&secret).is_err(), "the caller may not read it");
        let (stream, pointer) = (UnixStream::connect(&socket).unwrap(), point_at(&secret));
        let sent = send_descriptors(&stream, &request, &[pointer.as_fd()]).unwrap();
        assert_eq!(sent, request.len());
        all_of_answer_to(stream, b"")
    });
    // A refusal is a document, a deploy a stream of them.
    let last = answer.lines().rfind(|line| line.starts_with('{')).unwrap_or("nothing");
    let is_there = daemon.get("/v2/models/stolen").status == 200;
    let seen = format!("a model that the caller may not read, pointed at: {last}");
    if is_there { Outcome::GotThrough(seen) } else { Outcome::Stopped(seen) }
}

fn descriptors_of(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

pub(crate) fn descriptors(ground: &Ground) -> Outcome {
    let daemon = home(ground).start();
    let (node, null) = (daemon.node_pid(), File::open("/dev/null").unwrap());
    let before = descriptors_of(node);
    let many = vec![null.as_fd(); DESCRIPTORS];
    let mut stream = UnixStream::connect(socket(&daemon)).unwrap();
    stream.set_read_timeout(Some(WAIT)).unwrap();
    let head = b"GET /v1/node HTTP/1.1\r\nhost: a\r\nx: ";
    let sent = (0..MESSAGES).take_while(|_| send_descriptors(&stream, head, &many).is_ok()).count();
    let mut most = 0;
    dormouse_tests::wait::until_true("the descriptors arrive", || {
        most = descriptors_of(node).saturating_sub(before).max(most);
        // Either all are there, or the connection is gone.
        most >= DESCRIPTORS * MESSAGES || stream.write_all(b"x").is_err()
    });
    let seen = format!("{sent} × {DESCRIPTORS} on one connection: the node holds at most {most} more");
    let alive = daemon.admin("/v1/node").status == 200;
    // The message that goes over the limit is here before anybody knows.
    if most <= 2 * DESCRIPTORS && alive { Outcome::Stopped(seen) } else { Outcome::GotThrough(seen) }
}

pub(crate) fn document(ground: &Ground) -> Outcome {
    let daemon = home(ground).start();
    let memory = Memory::of_node(&daemon);
    let request = Request::post("/v1/endpoints", vec![b' '; DOCUMENT_BYTES]);
    let answer = Connection::to_socket(&socket(&daemon)).unwrap().try_send(&request);
    let status = answer.map_or(0, |answer| answer.status);
    let grown = memory.grown_mib();
    let seen = format!("{} MiB got {status}, the node grew by {grown} MiB", DOCUMENT_BYTES >> 20);
    if memory.is_bounded() && status != 200 { Outcome::Stopped(seen) } else { Outcome::GotThrough(seen) }
}

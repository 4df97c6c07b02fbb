//! A worker on its control channel: the part of whoever makes containers.

use std::io::{IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, socketpair,
};
use serde_json::{Value, json};

use crate::process::{command, fixture, wait};

/// More than any message may carry.
const DESCRIPTORS_MAX: usize = 32;

/// Killed when dropped.
pub(crate) struct Contained {
    pub(crate) child: Child,
    pub(crate) control: OwnedFd,
    pub(crate) directory: tempfile::TempDir,
}

/// Both ends of a control channel.
pub(crate) fn channel() -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
}

/// The next datagram; empty at the end of the channel.
pub(crate) fn next_word(control: &OwnedFd) -> String {
    let mut buffer = vec![0; 8192];
    let mut receive = || rustix::net::recv(control, &mut buffer[..], RecvFlags::empty());
    // Told once of who left without reading what it was told, ahead of what it said.
    let (read, _) = receive().or_else(|error| if error == Errno::CONNRESET { receive() } else { Err(error) }).unwrap();
    buffer.truncate(read);
    String::from_utf8(buffer).unwrap()
}

pub(crate) fn send(control: &OwnedFd, message: &Value, descriptors: &[BorrowedFd<'_>]) -> rustix::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(descriptors)));
    }
    let text = message.to_string();
    let parts = [IoSlice::new(text.as_bytes())];
    rustix::net::sendmsg(control, &parts, &mut ancillary, SendFlags::NOSIGNAL).map(drop)
}

impl Contained {
    pub(crate) fn start() -> Self {
        Self::start_by(command())
    }

    /// Starts it by a command of which it is a part.
    pub(crate) fn start_by(mut command: Command) -> Self {
        let (control, theirs) = channel();
        let directory = tempfile::tempdir().unwrap();
        let child = command
            .env("ORT_DISABLE_TELEMETRY", "1")
            .env("TMPDIR", directory.path())
            .stdin(Stdio::from(theirs))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let worker = Self { child, control, directory };
        assert_eq!(worker.verdict(), "B", "it is there before it is assigned anything");
        worker
    }

    pub(crate) fn send(&self, message: &Value, descriptors: &[BorrowedFd<'_>]) {
        send(&self.control, message, descriptors).unwrap();
    }

    /// Says that it is ready.
    pub(crate) fn is_ready(&self) {
        let verdict = self.verdict();
        assert!(verdict.starts_with('R'), "{verdict}");
    }

    /// The next word of the worker; empty at the end of the channel.
    pub(crate) fn verdict(&self) -> String {
        next_word(&self.control)
    }

    pub(crate) fn ends_with(&mut self, code: i32) {
        assert_eq!(wait(&mut self.child).code(), Some(code));
    }

    /// Kills it, and tells what it had to say.
    pub(crate) fn said(&mut self) -> String {
        self.child.kill().unwrap();
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        said
    }
}

impl Drop for Contained {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An assignment to do some work on some sources.
pub(crate) fn assignment(work: &str, intra_op_threads: usize, sources: &[Value]) -> Value {
    json!({"name": "assigned", "version": "3", "work": work, "sources": sources,
        "intra_op_threads": intra_op_threads, "body_bytes_max": 1 << 20, "concurrency": 4})
}

pub(crate) fn file_source(path: &Path) -> Value {
    json!({"kind": "onnx-file", "path": path})
}

pub(crate) fn fixture_source(name: &str) -> Value {
    file_source(&fixture(name))
}

pub(crate) fn descriptor_source(form: &str) -> Value {
    json!({"kind": format!("{form}-descriptor")})
}

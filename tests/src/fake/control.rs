//! The control channel on descriptor 0: one assignment with a listener in, one verdict out.

use std::{
    io::{IoSliceMut, stdin},
    mem::MaybeUninit,
    os::{fd::OwnedFd, unix::net::UnixListener},
    path::PathBuf,
};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags};
use serde::Deserialize;

/// What the fake needs of its assignment.
#[derive(Debug, Deserialize)]
pub(super) struct Assignment {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) work: Work,
    sources: Vec<Source>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Work {
    Serve,
    Prepare,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum Source {
    OnnxFile { path: PathBuf },
    OrtDescriptor {},
}

impl Assignment {
    /// The script; what was prepared of it is not looked at.
    pub(super) fn model(&self) -> PathBuf {
        let file = self.sources.iter().find_map(|source| match source {
            Source::OnnxFile { path } => Some(path.clone()),
            Source::OrtDescriptor {} => None,
        });
        file.expect("the original is always among the sources")
    }
}

pub(super) struct Control;

impl Control {
    pub(super) fn from_stdin() -> Self {
        rustix::io::ioctl_fionbio(stdin(), false).unwrap();
        Self
    }

    pub(super) fn receive(&self) -> (Assignment, UnixListener) {
        let mut bytes = [0; 16 << 10];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let parts = &mut [IoSliceMut::new(&mut bytes)];
        let received = rustix::net::recvmsg(stdin(), parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC).unwrap();
        let listener: OwnedFd = ancillary
            .drain()
            .find_map(|message| match message {
                RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
                _ => None,
            })
            .expect("the listener comes with the assignment");
        let listener = UnixListener::from(listener);
        listener.set_nonblocking(true).unwrap();
        (serde_json::from_slice(&bytes[..received.bytes]).expect("an assignment"), listener)
    }

    pub(super) fn say(&self, verdict: &[u8]) {
        rustix::net::send(stdin(), verdict, SendFlags::NOSIGNAL).unwrap();
    }
}

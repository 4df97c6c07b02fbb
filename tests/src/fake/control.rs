//! The control channel on descriptor 0: one assignment with a listener in, one verdict out.

use std::{
    io::{IoSliceMut, stdin},
    mem::MaybeUninit,
    os::fd::{IntoRawFd, OwnedFd},
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
    Template,
    Prepare,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum Source {
    OnnxFile { path: PathBuf },
    OnnxDescriptor {},
    OrtDescriptor {},
}

pub(super) struct Control;

impl Control {
    pub(super) fn from_stdin() -> Self {
        rustix::io::ioctl_fionbio(stdin(), false).unwrap();
        Self
    }

    /// Says that it is there, and takes what it is to be: where the script is, or the script itself. A template
    /// gets no listener.
    pub(super) fn receive(&self) -> (Assignment, Option<OwnedFd>, PathBuf) {
        self.say(b"B");
        let mut bytes = [0; 16 << 10];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let parts = &mut [IoSliceMut::new(&mut bytes)];
        let received = rustix::net::recvmsg(stdin(), parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC).unwrap();
        let descriptors = ancillary.drain().flat_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => descriptors.collect(),
            _ => Vec::new(),
        });
        let mut descriptors = descriptors.collect::<Vec<OwnedFd>>().into_iter();
        let assignment: Assignment = serde_json::from_slice(&bytes[..received.bytes]).expect("an assignment");
        let listener = if assignment.work == Work::Template { None } else { descriptors.next() };
        // What was prepared of the script is not looked at.
        let script = assignment.sources.iter().find_map(|source| match source {
            Source::OnnxFile { path } => Some(path.clone()),
            Source::OrtDescriptor {} => descriptors.next().and(None),
            // Never closed: it is read for as long as this process lives.
            Source::OnnxDescriptor {} => {
                descriptors.next().map(|model| PathBuf::from(format!("/proc/self/fd/{}", model.into_raw_fd())))
            }
        });
        let script = script.expect("the original is always among the sources");
        (assignment, listener, script)
    }

    pub(super) fn say(&self, verdict: &[u8]) {
        rustix::net::send(stdin(), verdict, SendFlags::NOSIGNAL).unwrap();
    }
}

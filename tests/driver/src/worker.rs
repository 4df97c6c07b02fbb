//! The worker's side of its control channel, for programs that stand in for the real one.

pub mod template;

use std::{
    io::{self, IoSliceMut},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixListener,
    },
};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags};
use serde_json::Value;

/// Descriptors with one message: what a server is given, entrances to its group included.
const DESCRIPTORS_MAX: usize = 20;

/// What the one message of the spawner brings.
#[derive(Debug)]
pub struct Assigned {
    /// Whose replica this is.
    pub name: String,
    pub listener: UnixListener,
    /// The first model that came as a descriptor: in ORT format where there is one.
    pub model: Option<OwnedFd>,
}

/// Says that it is there, and takes the one message of the spawner.
pub fn assignment() -> (String, UnixListener) {
    let Assigned { name, listener, .. } = assigned();
    (name, listener)
}

/// The same with the model. A template does not come back from here, each of its servers does.
pub fn assigned() -> Assigned {
    say(b"B");
    let (assignment, descriptors) = receive().expect("nobody gives up a worker that waits");
    let name = assignment["name"].as_str().unwrap().to_owned();
    let mut descriptors = descriptors.into_iter();
    let listener = if assignment["work"] == "template" {
        assert!(descriptors.len() <= 2, "a prepared model and the original");
        say(READY);
        template::serve(&name)
    } else {
        assert!(descriptors.len() <= 3, "a listener, a prepared model and the original");
        descriptors.next().expect("the listener comes with the assignment")
    };
    let listener = UnixListener::from(listener);
    listener.set_nonblocking(false).unwrap();
    Assigned { name, listener, model: descriptors.next() }
}

/// The spawner's next message; none where it closed the channel.
fn receive() -> Option<(Value, Vec<OwnedFd>)> {
    receive_on(io::stdin())
}

fn receive_on(channel: impl AsFd) -> Option<(Value, Vec<OwnedFd>)> {
    let mut bytes = [0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    rustix::io::ioctl_fionbio(&channel, false).unwrap();
    let slices = &mut [IoSliceMut::new(&mut bytes)];
    let received = rustix::net::recvmsg(&channel, slices, &mut ancillary, RecvFlags::empty()).unwrap();
    let descriptors: Vec<OwnedFd> = ancillary
        .drain()
        .flat_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => descriptors.collect(),
            _ => Vec::new(),
        })
        .collect();
    (received.bytes > 0).then(|| (serde_json::from_slice(&bytes[..received.bytes]).unwrap(), descriptors))
}

/// What a worker says once it serves: `R`, and where the time of its loading went.
pub const READY: &[u8] = br#"R{"runtime_us":1,"model_us":2,"session_us":3}"#;

/// Says a word on the control channel.
pub fn say(word: &[u8]) {
    rustix::net::send(io::stdin().as_fd(), word, SendFlags::NOSIGNAL).unwrap();
}

/// The name of what the kernel refused with.
pub fn errno(error: &io::Error) -> String {
    nix::errno::Errno::from_raw(error.raw_os_error().expect("the kernel refuses"))
        .to_string()
        .split(':')
        .next()
        .unwrap()
        .to_owned()
}

/// `ok`, or how the kernel refused.
pub fn outcome<T>(result: io::Result<T>) -> String {
    result.map_or_else(|error| errno(&error), |_| "ok".to_owned())
}

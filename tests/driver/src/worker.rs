//! The worker's side of its control channel, for programs that stand in for the real one.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, IoSliceMut},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{fs::FileExt, net::UnixListener},
    },
    sync::OnceLock,
};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags};

/// Where the model came as a descriptor.
static MODEL: OnceLock<File> = OnceLock::new();

/// What is in the model that was handed over as a descriptor.
pub fn model() -> io::Result<String> {
    let model = MODEL.get().ok_or(io::ErrorKind::NotFound)?;
    let mut bytes = vec![0; 4096];
    let length = model.read_at(&mut bytes, 0)?;
    Ok(String::from_utf8_lossy(&bytes[..length]).into_owned())
}

/// Says that it is there, and takes the one message of the spawner: whose replica this is, and its
/// listening socket. The model may come along.
pub fn assignment() -> (String, UnixListener) {
    say(b"B");
    let mut bytes = [0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let stdin = io::stdin();
    rustix::io::ioctl_fionbio(&stdin, false).unwrap();
    let slices = &mut [IoSliceMut::new(&mut bytes)];
    let received = rustix::net::recvmsg(&stdin, slices, &mut ancillary, RecvFlags::empty()).unwrap();
    let mut descriptors: VecDeque<OwnedFd> = ancillary
        .drain()
        .flat_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => descriptors.collect(),
            _ => Vec::new(),
        })
        .collect();
    let listener = descriptors.pop_front().expect("a listener comes with the assignment");
    if let Some(model) = descriptors.pop_front() {
        MODEL.set(model.into()).unwrap();
    }
    let assignment: serde_json::Value = serde_json::from_slice(&bytes[..received.bytes]).unwrap();
    let listener = UnixListener::from(listener);
    listener.set_nonblocking(false).unwrap();
    (assignment["name"].as_str().unwrap().to_owned(), listener)
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

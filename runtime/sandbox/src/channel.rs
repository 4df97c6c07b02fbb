//! Messages and descriptors over one `SOCK_SEQPACKET` socket: one datagram, one message.
//!
//! Nothing here waits: the spawner polls, the node registers the descriptor with its reactor.
//!
//! Descriptors go one way, from the spawner. What the node attaches would be the spawner's to close,
//! and closing can take as long as whoever made the descriptor likes: a socket lingers over what it
//! could not send. So [`Channel::without_descriptors`] has the kernel refuse them at the sender.

use std::{
    io::{self, IoSlice, IoSliceMut},
    marker::PhantomData,
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use serde::{Serialize, de::DeserializeOwned};

/// The largest message: a welcome with its settings.
pub const MESSAGE_BYTES_MAX: usize = 64 << 10;
/// A welcome carries two listeners; an order to fork a server a listener, a log, a channel and an
/// entrance into each hierarchy of control groups; everything else fewer.
pub const DESCRIPTORS_MAX: usize = 20;
/// The kernel's own limit of descriptors with one message (`SCM_MAX_FD`).
const KERNEL_DESCRIPTORS_MAX: usize = 253;
/// `SO_PASSRIGHTS`, of Linux 6.16: whether others may send descriptors to a socket.
const SO_PASSRIGHTS: i32 = 83;

/// Why a message could not be sent or received.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    #[error("the channel is full")]
    Full,
    #[error("the other side closed the channel")]
    Closed,
    #[error("{operation} on the channel failed")]
    Socket {
        operation: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("a message of {bytes} bytes with {descriptors} descriptors is over the channel's limits")]
    TooLarge { bytes: usize, descriptors: usize },
    #[error("the other side sent a message that is not in the protocol")]
    Malformed(#[source] serde_json::Error),
    #[error("the other side sent a message that was cut off")]
    CutOff,
    #[error("the other side spelt a message otherwise than the protocol does")]
    Misspelt,
    #[error("the other side attached descriptors to a message")]
    Descriptors,
}

/// One end that sends `Out` and receives `In`.
#[derive(Debug)]
pub struct Channel<Out, In> {
    socket: OwnedFd,
    buffer: Vec<u8>,
    takes_descriptors: bool,
    carries: PhantomData<fn(Out) -> In>,
}

/// Both ends of a new channel, close-on-exec and non-blocking.
///
/// # Errors
/// Where the kernel gives no socket pair.
pub fn pair() -> Result<(OwnedFd, OwnedFd), ChannelError> {
    rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )
    .map_err(|error| ChannelError::Socket { operation: "creating a socket pair", source: error.into() })
}

impl<Out: Serialize, In: Serialize + DeserializeOwned> Channel<Out, In> {
    #[must_use]
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket, buffer: vec![0; MESSAGE_BYTES_MAX], takes_descriptors: true, carries: PhantomData }
    }

    /// A channel whose other side may attach no descriptor: it cannot where the kernel knows how to
    /// refuse that, and else it is an error here.
    #[must_use]
    pub fn without_descriptors(socket: OwnedFd) -> Self {
        refuse_descriptors(&socket);
        Self { takes_descriptors: false, ..Self::new(socket) }
    }

    /// Sends one message; the descriptors are duplicated by the kernel, the caller keeps its own.
    ///
    /// # Errors
    /// [`ChannelError::Full`] where the other side does not keep up: poll and try again.
    pub fn try_send(&self, message: &Out, descriptors: &[BorrowedFd<'_>]) -> Result<(), ChannelError> {
        send(self.socket.as_fd(), message, descriptors)
    }

    /// The next message and its descriptors (close-on-exec), or `None` where none is waiting.
    ///
    /// # Errors
    /// [`ChannelError::Closed`] at the end of the channel; else where the other side does not keep to
    /// the protocol. What came with such a message is closed.
    pub fn try_receive(&mut self) -> Result<Option<(In, Vec<OwnedFd>)>, ChannelError> {
        // Room for all there can be: the kernel closes what does not fit, lingering and all.
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(KERNEL_DESCRIPTORS_MAX))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let received =
            match rustix::net::recvmsg(&self.socket, &mut [IoSliceMut::new(&mut self.buffer)], &mut ancillary, flags) {
                Ok(received) => received,
                Err(rustix::io::Errno::AGAIN) => return Ok(None),
                Err(rustix::io::Errno::CONNRESET) => return Err(ChannelError::Closed),
                Err(error) => return Err(ChannelError::Socket { operation: "receiving", source: error.into() }),
            };
        let descriptors: Vec<OwnedFd> = ancillary
            .drain()
            .flat_map(|message| match message {
                RecvAncillaryMessage::ScmRights(descriptors) => descriptors.collect::<Vec<_>>(),
                _ => Vec::new(),
            })
            .collect();
        if !self.takes_descriptors && !descriptors.is_empty() {
            descriptors.iter().for_each(do_not_linger);
            return Err(ChannelError::Descriptors);
        }
        if received.bytes == 0 {
            return Err(ChannelError::Closed);
        }
        if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
            return Err(ChannelError::CutOff);
        }
        let bytes = self.buffer.get(..received.bytes).ok_or(ChannelError::CutOff)?;
        let message = read(bytes)?;
        if descriptors.len() > DESCRIPTORS_MAX {
            return Err(ChannelError::TooLarge { bytes: bytes.len(), descriptors: descriptors.len() });
        }
        Ok(Some((message, descriptors)))
    }
}

/// Sends one message over a socket of which nothing is received as messages.
pub(crate) fn send(
    socket: BorrowedFd<'_>,
    message: &impl Serialize,
    descriptors: &[BorrowedFd<'_>],
) -> Result<(), ChannelError> {
    let bytes = serde_json::to_vec(message).map_err(ChannelError::Malformed)?;
    if bytes.len() > MESSAGE_BYTES_MAX || descriptors.len() > DESCRIPTORS_MAX {
        return Err(ChannelError::TooLarge { bytes: bytes.len(), descriptors: descriptors.len() });
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(ChannelError::TooLarge { bytes: bytes.len(), descriptors: descriptors.len() });
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    match rustix::net::sendmsg(socket, &[IoSlice::new(&bytes)], &mut ancillary, flags) {
        Ok(_) => Ok(()),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::NOBUFS) => Err(ChannelError::Full),
        Err(rustix::io::Errno::PIPE | rustix::io::Errno::CONNRESET) => Err(ChannelError::Closed),
        Err(error) => Err(ChannelError::Socket { operation: "sending", source: error.into() }),
    }
}

/// A message in the one spelling that [`Channel::try_send`] gives it. JSON has many for everything,
/// and serde overlooks some of what does not belong: a field beside a message that has none, a list
/// in place of an object. Both halves are one program, so there is no reason to take any of them.
///
/// # Errors
/// [`ChannelError::Malformed`] for what is no message, [`ChannelError::Misspelt`] for another
/// spelling of one.
pub fn read<M: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<M, ChannelError> {
    let message = serde_json::from_slice(bytes).map_err(ChannelError::Malformed)?;
    let spelt = serde_json::to_vec(&message).map_err(ChannelError::Malformed)?;
    if spelt == bytes { Ok(message) } else { Err(ChannelError::Misspelt) }
}

/// From now on nobody can send descriptors to `socket`, where the kernel is of 6.16 or newer.
pub(crate) fn refuse_descriptors(socket: &OwnedFd) {
    let off: nix::libc::c_int = 0;
    let length = nix::libc::socklen_t::try_from(size_of_val(&off)).unwrap_or_default();
    // SAFETY: the kernel reads `length` bytes at the pointer, which is to a live integer of that size;
    // the descriptor is open for as long as the borrow.
    unsafe {
        // An older kernel knows no such option; what arrives there is closed with care instead.
        nix::libc::setsockopt(
            socket.as_raw_fd(),
            nix::libc::SOL_SOCKET,
            SO_PASSRIGHTS,
            std::ptr::from_ref(&off).cast(),
            length,
        );
    }
}

/// Lets a socket that somebody else made be closed at once, whatever it could not send.
fn do_not_linger(descriptor: &OwnedFd) {
    // What is no socket does not linger.
    let _ = rustix::net::sockopt::set_socket_linger(descriptor, None);
}

impl<Out, In> AsFd for Channel<Out, In> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::{Read, Write};

    use super::*;
    use crate::messages::{Event, Request};

    fn both_ends() -> (Channel<Request, Event>, Channel<Event, Request>) {
        let (node, spawner) = pair().unwrap();
        (Channel::new(node), Channel::new(spawner))
    }

    #[test]
    fn descriptors_arrive_with_their_message() {
        let (node, mut spawner) = both_ends();
        let (mut reading, writing) = std::io::pipe().unwrap();
        node.try_send(&Request::Drained, &[writing.as_fd()]).unwrap();
        drop(writing);
        let (message, descriptors) = spawner.try_receive().unwrap().unwrap();
        assert_eq!(message, Request::Drained);
        for descriptor in descriptors {
            std::fs::File::from(descriptor).write_all(b"here").unwrap();
        }
        let mut text = String::new();
        reading.read_to_string(&mut text).unwrap();
        assert_eq!(text, "here");
    }

    #[test]
    fn an_empty_channel_says_so_and_a_closed_one_too() {
        let (node, mut spawner) = both_ends();
        assert!(spawner.try_receive().unwrap().is_none());
        drop(node);
        assert!(matches!(spawner.try_receive(), Err(ChannelError::Closed)));
        assert!(matches!(spawner.try_send(&Event::Drain, &[]), Err(ChannelError::Closed)));
    }

    const CREATE: &str = r#"{"request":"create","replica":"a-1-1","payload":{"model":{"model":"sha256:MODEL","work":{"kind":"serve","prepared":null},"intra_op_threads":1,"body_bytes_max":1024}},"limits":{"cpu":"500m","memory":"64Mi","pids":32,"tmp":"1Mi"},"concurrency":4}"#;

    /// What a spawner makes of one datagram.
    fn received(datagram: &[u8]) -> Result<Option<(Request, Vec<OwnedFd>)>, ChannelError> {
        let (node, spawner) = pair().unwrap();
        let mut spawner = Channel::<Event, Request>::without_descriptors(spawner);
        rustix::net::send(&node, datagram, SendFlags::empty()).unwrap();
        spawner.try_receive()
    }

    #[test]
    fn what_is_not_in_the_protocol_is_an_error() {
        let create = CREATE.replace("MODEL", &"0f".repeat(32));
        assert!(matches!(received(create.as_bytes()), Ok(Some((Request::Create(_), _)))));
        let long = "a".repeat(10_000);
        for hostile in [
            r#"{"request":"open","path":"/etc/shadow"}"#,
            r#"{"request":"hello"}"#,
            r#"{"request":"hello","version":-1}"#,
            r#"{"request":"hello","version":"2"}"#,
            r#"{"request":"hello","version":2,"version":3}"#,
            r#"{"request":"hello","request":"drained","version":2}"#,
            r#"{"request":"thaw","replica":"a-1-1","path":"/"}"#,
            r#"{"request":"thaw","replica":["a-1-1"]}"#,
            r#"{"request":"thaw","replica":"../../a-1-1"}"#,
            r#"{"request":"thaw","replica":"a-1-1\u0000"}"#,
            r#"{"request":"stop","replica":"a-1-1","grace_ms":4294967296}"#,
            r#"{"request":"stop","replica":"a-1-1","grace_ms":1.5}"#,
            r#"{"request":"forget","endpoint":"a/b"}"#,
            r#"{"request":"forget","endpoint":null}"#,
            &format!(r#"{{"request":"forget","endpoint":"{long}"}}"#),
            &format!(r#"{{"request":"thaw","replica":"{long}-1-1"}}"#),
            &create.replace("0f0f", "../."),
            &create.replace("sha256:", "/etc/"),
            &create.replace(r#""model""#, r#""endpoint":"b","model""#),
            &create.replace(r#""limits":{"#, r#""limits":{"devices":"all","#),
            &create.replace(r#""64Mi""#, r#""-1""#),
            &create.replace(r#""64Mi""#, r#""99999999999Gi""#),
            &create.replace(r#""500m""#, "1e400"),
            &create[..create.len() - 1],
            &"[".repeat(60_000),
            &r#"{"request":"#.repeat(5_000),
            "null",
            "\u{0}",
        ] {
            let told = received(hostile.as_bytes());
            assert!(matches!(told, Err(ChannelError::Malformed(_))), "{told:?} for {hostile:.200}");
        }
        assert!(matches!(received(b"\xff{}"), Err(ChannelError::Malformed(_))));
    }

    #[test]
    fn a_message_has_one_spelling() {
        let create = CREATE.replace("MODEL", &"0f".repeat(32));
        for hostile in [
            r#"{"request":"drained","path":"/"}"#,
            r#"["drained"]"#,
            r#"["thaw","a-1-1"]"#,
            r#"{"request":"drained"} "#,
            r#"{ "request":"drained"}"#,
            r#"{"request":"dr\u0061ined"}"#,
            r#"{"replica":"a-1-1","request":"thaw"}"#,
            &create.replace(r#""64Mi""#, "67108864"),
            &create.replace(r#""64Mi""#, r#""65536Ki""#),
        ] {
            let told = received(hostile.as_bytes());
            assert!(matches!(told, Err(ChannelError::Misspelt | ChannelError::Malformed(_))), "{told:?} for {hostile}");
        }
    }

    #[test]
    fn a_message_over_the_limit_or_of_no_bytes_ends_the_channel() {
        let mut largest = br#"{"request":"drained"}"#.to_vec();
        largest.resize(MESSAGE_BYTES_MAX, b' ');
        assert!(matches!(received(&largest), Err(ChannelError::Misspelt)));
        largest.push(b' ');
        assert!(matches!(received(&largest), Err(ChannelError::CutOff)));
        assert!(matches!(received(b""), Err(ChannelError::Closed)));
    }

    /// As on a kernel that cannot refuse them at the sender.
    #[test]
    fn attached_descriptors_are_an_error_and_are_closed() {
        let (node, spawner) = pair().unwrap();
        let node = Channel::<Request, Event>::new(node);
        let mut spawner =
            Channel::<Event, Request> { takes_descriptors: false, ..Channel::<Event, Request>::new(spawner) };
        let (mut reading, writing) = std::io::pipe().unwrap();
        node.try_send(&Request::Drained, &[writing.as_fd(); DESCRIPTORS_MAX]).unwrap();
        drop(writing);
        assert!(matches!(spawner.try_receive(), Err(ChannelError::Descriptors)));
        assert_eq!(reading.read(&mut [0]).unwrap(), 0, "nobody holds the other end any more");
    }
}

//! Messages and descriptors over one `SOCK_SEQPACKET` socket: one datagram, one message.
//!
//! Nothing here waits: the spawner polls, the node registers the descriptor with its reactor.

use std::{
    io::{self, IoSlice, IoSliceMut},
    marker::PhantomData,
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use serde::{Serialize, de::DeserializeOwned};

/// The largest message: a welcome with its settings.
pub const MESSAGE_BYTES_MAX: usize = 64 << 10;
/// A welcome carries two listeners, everything else one descriptor or none.
pub const DESCRIPTORS_MAX: usize = 8;

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
}

/// One end that sends `Out` and receives `In`.
#[derive(Debug)]
pub struct Channel<Out, In> {
    socket: OwnedFd,
    buffer: Vec<u8>,
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

impl<Out: Serialize, In: DeserializeOwned> Channel<Out, In> {
    #[must_use]
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket, buffer: vec![0; MESSAGE_BYTES_MAX], carries: PhantomData }
    }

    /// The socket alone, where the rest of a conversation is no messages.
    #[must_use]
    pub fn into_socket(self) -> OwnedFd {
        self.socket
    }

    /// Sends one message; the descriptors are duplicated by the kernel, the caller keeps its own.
    ///
    /// # Errors
    /// [`ChannelError::Full`] where the other side does not keep up: poll and try again.
    pub fn try_send(&self, message: &Out, descriptors: &[BorrowedFd<'_>]) -> Result<(), ChannelError> {
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
        match rustix::net::sendmsg(&self.socket, &[IoSlice::new(&bytes)], &mut ancillary, flags) {
            Ok(_) => Ok(()),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::NOBUFS) => Err(ChannelError::Full),
            Err(rustix::io::Errno::PIPE | rustix::io::Errno::CONNRESET) => Err(ChannelError::Closed),
            Err(error) => Err(ChannelError::Socket { operation: "sending", source: error.into() }),
        }
    }

    /// The next message and its descriptors (close-on-exec), or `None` where none is waiting.
    ///
    /// # Errors
    /// [`ChannelError::Closed`] at the end of the channel; [`ChannelError::Malformed`] and
    /// [`ChannelError::CutOff`] where the other side does not keep to the protocol.
    pub fn try_receive(&mut self) -> Result<Option<(In, Vec<OwnedFd>)>, ChannelError> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
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
        if received.bytes == 0 {
            return Err(ChannelError::Closed);
        }
        if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
            return Err(ChannelError::CutOff);
        }
        let bytes = self.buffer.get(..received.bytes).ok_or(ChannelError::CutOff)?;
        let message = serde_json::from_slice(bytes).map_err(ChannelError::Malformed)?;
        Ok(Some((message, descriptors)))
    }
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

    #[test]
    fn what_is_not_in_the_protocol_is_an_error() {
        let (node, spawner) = pair().unwrap();
        let mut spawner = Channel::<Event, Request>::new(spawner);
        rustix::net::send(&node, br#"{"request":"open","path":"/etc/shadow"}"#, SendFlags::empty()).unwrap();
        assert!(matches!(spawner.try_receive(), Err(ChannelError::Malformed(_))));
    }
}

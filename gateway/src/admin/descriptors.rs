//! A Unix stream whose bytes carry descriptors.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::UnixStream,
};

use crate::defence::Defence;

/// What the kernel carries with one message (SCM_MAX_FD), and what one connection may bring.
pub(super) const DESCRIPTORS_MAX: usize = 253;

/// The descriptors that came with what was read so far. The reader of the bytes and the handler of
/// the request they make share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Received(Arc<Mutex<Vec<OwnedFd>>>);

impl Received {
    pub(super) fn take(&self) -> Vec<OwnedFd> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn add(&self, descriptors: Vec<OwnedFd>) -> io::Result<()> {
        let mut received = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if Defence::DescriptorLimit.stands() && received.len() + descriptors.len() > DESCRIPTORS_MAX {
            return Err(io::Error::other(format!("more than {DESCRIPTORS_MAX} descriptors came on one connection")));
        }
        received.extend(descriptors);
        Ok(())
    }
}

#[derive(Debug)]
pub(super) struct DescriptorStream {
    stream: UnixStream,
    /// Sent with the first bytes that are written.
    to_send: Vec<OwnedFd>,
    received: Received,
}

impl DescriptorStream {
    pub(super) fn receiving(stream: UnixStream) -> (Self, Received) {
        let received = Received::default();
        (Self { stream, to_send: Vec::new(), received: received.clone() }, received)
    }

    /// # Errors
    /// Where there are more than [`DESCRIPTORS_MAX`].
    pub(super) fn sending(stream: UnixStream, descriptors: Vec<OwnedFd>) -> io::Result<Self> {
        if descriptors.len() > DESCRIPTORS_MAX {
            return Err(io::Error::other(format!("more than {DESCRIPTORS_MAX} files cannot be passed at once")));
        }
        Ok(Self { stream, to_send: descriptors, received: Received::default() })
    }
}

impl AsyncRead for DescriptorStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            ready!(this.stream.poll_read_ready(cx))?;
            let read = || receive(this.stream.as_fd(), buffer.initialize_unfilled(), &this.received);
            match this.stream.try_io(Interest::READABLE, read) {
                Ok(bytes) => {
                    buffer.advance(bytes);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

fn receive(socket: BorrowedFd<'_>, bytes: &mut [u8], received: &Received) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let message = rustix::net::recvmsg(socket, &mut [IoSliceMut::new(bytes)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let descriptors: Vec<OwnedFd> = ancillary
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        })
        .flatten()
        .collect();
    if message.flags.contains(ReturnFlags::CTRUNC) {
        return Err(io::Error::other("descriptors were lost on their way"));
    }
    received.add(descriptors)?;
    Ok(message.bytes)
}

impl AsyncWrite for DescriptorStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.to_send.is_empty() {
            return Pin::new(&mut this.stream).poll_write(cx, bytes);
        }
        loop {
            ready!(this.stream.poll_write_ready(cx))?;
            let write = || send(this.stream.as_fd(), bytes, &this.to_send);
            match this.stream.try_io(Interest::WRITABLE, write) {
                Ok(sent) => {
                    this.to_send.clear();
                    return Poll::Ready(Ok(sent));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

fn send(socket: BorrowedFd<'_>, bytes: &[u8], descriptors: &[OwnedFd]) -> io::Result<usize> {
    let borrowed: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(&borrowed)) {
        return Err(io::Error::other("the descriptors do not fit one message"));
    }
    Ok(rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::{Read, Write};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn descriptors_arrive_with_the_bytes_and_close_on_exec() {
        let (client, server) = UnixStream::pair().unwrap();
        let (mut reading, writing) = io::pipe().unwrap();
        let mut client = DescriptorStream::sending(client, vec![writing.into()]).unwrap();
        let (mut server, received) = DescriptorStream::receiving(server);
        client.write_all(b"POST /").await.unwrap();
        client.write_all(b" more").await.unwrap();
        drop(client);
        let mut bytes = Vec::new();
        server.read_to_end(&mut bytes).await.unwrap();
        assert_eq!(bytes, b"POST / more");
        let mut descriptors = received.take();
        assert_eq!(descriptors.len(), 1);
        let descriptor = descriptors.remove(0);
        assert!(rustix::io::fcntl_getfd(&descriptor).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
        std::fs::File::from(descriptor).write_all(b"here").unwrap();
        let mut text = String::new();
        reading.read_to_string(&mut text).unwrap();
        assert_eq!(text, "here");
        assert!(received.take().is_empty());
    }

    #[tokio::test]
    async fn a_connection_brings_no_more_descriptors_than_one_message_holds() {
        let (client, server) = UnixStream::pair().unwrap();
        let (mut server, _received) = DescriptorStream::receiving(server);
        let open = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let many: Vec<OwnedFd> = (0..DESCRIPTORS_MAX).map(|_| open()).collect();
        assert!(
            DescriptorStream::sending(UnixStream::pair().unwrap().0, (0..=DESCRIPTORS_MAX).map(|_| open()).collect())
                .is_err()
        );
        send(client.as_fd(), b"a", &many).unwrap();
        server.read_u8().await.unwrap();
        send(client.as_fd(), b"b", &many[..1]).unwrap();
        assert!(server.read_u8().await.unwrap_err().to_string().contains("more than 253 descriptors"));
    }
}

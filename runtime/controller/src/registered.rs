//! A channel of messages as the reactor wants to see it.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, RawFd},
};

use dormouse_sandbox::channel::Channel;
use tokio::io::unix::AsyncFd;

#[derive(Debug)]
pub(crate) struct Socket<Out, In>(pub(crate) Channel<Out, In>);

impl<Out, In> AsRawFd for Socket<Out, In> {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

#[expect(
    deprecated,
    reason = "what replaces it is unsafe, for types that close or change their descriptor while registered; \
              `Socket` owns one descriptor for as long as it lives"
)]
pub(crate) fn register<Out, In>(channel: Channel<Out, In>) -> io::Result<AsyncFd<Socket<Out, In>>> {
    AsyncFd::new(Socket(channel))
}

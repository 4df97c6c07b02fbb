//! The control channel of a contained worker: an assignment comes in and a verdict goes out; a template then takes
//! orders for as long as it lives.

mod assignment;
mod order;

use std::io::{IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendFlags};
use serde::Serialize;

pub use assignment::{Assignment, Work};
pub(crate) use assignment::{AssignmentError, Received};
pub(crate) use order::{Ended, Handover, Order, OrderError};

/// Largest assignment or order, in bytes.
const MESSAGE_BYTES_MAX: usize = 16 << 10;

/// Most descriptors with one message: an order has more than an assignment.
const DESCRIPTORS_MAX: usize = order::DESCRIPTORS_MAX;

/// Longest reason sent for a failure, in bytes.
const REASON_BYTES_MAX: usize = 4096;

/// What is said before the assignment: ONNX Runtime is there.
const WORD_BLANK: u8 = b'B';

/// First byte of the verdict: the model is loaded, and served or ready to be forked; [`Loading`] follows.
const VERDICT_READY: u8 = b'R';

/// First byte of the verdict: loading failed, the reason follows.
const VERDICT_ERROR: u8 = b'E';

/// First byte of what a template tells of a server that it has reaped.
const WORD_REAPED: u8 = b'X';

/// Where the time of a start went, for whoever woke this worker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Loading {
    /// From the first instruction until ONNX Runtime can be used.
    #[serde(rename = "runtime_us", serialize_with = "micros")]
    pub(crate) runtime: Duration,
    /// Until the model's bytes are at hand.
    #[serde(rename = "model_us", serialize_with = "micros")]
    pub(crate) model: Duration,
    /// Until the session can run them. Where ONNX Runtime reads the file itself, that is in here.
    #[serde(rename = "session_us", serialize_with = "micros")]
    pub(crate) session: Duration,
}

fn micros<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
}

/// How a server ended, as it is told.
#[derive(Serialize)]
struct Reaped {
    server: u64,
    /// Nothing where there is no such server.
    ended: Option<Ended>,
}

/// Why the control channel could not be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ControlError {
    #[error("descriptor 0 cannot be used as control channel")]
    Open(#[source] std::io::Error),
    #[error("nothing could be received on the control channel")]
    Receive(#[source] Errno),
    #[error("the message is larger than {MESSAGE_BYTES_MAX} bytes")]
    TooLarge,
    #[error("descriptors of the message are lost: it has more than {DESCRIPTORS_MAX}, or there is no place for them")]
    DescriptorsLost,
    #[error(transparent)]
    Assignment(#[from] AssignmentError),
    #[error(transparent)]
    Order(#[from] OrderError),
    #[error("the verdict could not be written")]
    Write(#[source] serde_json::Error),
    #[error("the verdict could not be sent")]
    Send(#[source] Errno),
}

/// What comes in.
struct Message {
    text: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

/// A SEQPACKET socket to whoever made this container.
#[derive(Debug)]
pub(crate) struct ControlChannel {
    socket: OwnedFd,
}

impl ControlChannel {
    /// The channel on descriptor 0.
    pub(crate) fn from_stdin() -> Result<Self, ControlError> {
        let socket = std::io::stdin().as_fd().try_clone_to_owned().map_err(ControlError::Open)?;
        Ok(Self { socket })
    }

    /// Waits for the assignment, with its listener and its model. `None` if the other end went away instead: nobody
    /// wants this worker any more.
    pub(crate) fn assignment(&self) -> Result<Option<Received>, ControlError> {
        let Some(Message { text, descriptors }) = self.receive()? else { return Ok(None) };
        Ok(Some(Received::read(&text, descriptors)?))
    }

    /// Waits for an order. `None` if there will be none any more.
    pub(crate) fn order(&self) -> Result<Option<Order>, ControlError> {
        let Some(Message { text, descriptors }) = self.receive()? else { return Ok(None) };
        Ok(Some(Order::read(&text, descriptors)?))
    }

    /// In a server: waits for what it is to serve. `None` if nobody wants it any more.
    pub(crate) fn handover(&self) -> Result<Option<Handover>, ControlError> {
        let Some(Message { text, descriptors }) = self.receive()? else { return Ok(None) };
        Ok(Some(Handover::read(&text, descriptors)?))
    }

    fn receive(&self) -> Result<Option<Message>, ControlError> {
        let mut text = vec![0; MESSAGE_BYTES_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = retry_on_intr(|| {
            let parts = &mut [IoSliceMut::new(&mut text)];
            rustix::net::recvmsg(&self.socket, parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC)
        })
        .map_err(ControlError::Receive)?;
        if received.bytes == 0 {
            return Ok(None);
        }
        if received.flags.contains(ReturnFlags::TRUNC) {
            return Err(ControlError::TooLarge);
        }
        if received.flags.contains(ReturnFlags::CTRUNC) {
            return Err(ControlError::DescriptorsLost);
        }
        text.truncate(received.bytes);
        Ok(Some(Message { text, descriptors: descriptors(&mut ancillary) }))
    }

    /// Reports that only an assignment is missing.
    pub(crate) fn blank(&self) -> Result<(), ControlError> {
        self.send(&[WORD_BLANK])
    }

    /// Reports that the model is loaded, and served or ready to be forked.
    pub(crate) fn ready(&self, loading: &Loading) -> Result<(), ControlError> {
        self.tell(VERDICT_READY, loading)
    }

    /// Reports how a server ended.
    pub(crate) fn reaped(&self, server: u64, ended: Option<Ended>) -> Result<(), ControlError> {
        self.tell(WORD_REAPED, &Reaped { server, ended })
    }

    /// Reports why the model could not be loaded.
    pub(crate) fn failed(&self, reason: &str) -> Result<(), ControlError> {
        let end = reason.floor_char_boundary(REASON_BYTES_MAX);
        let mut verdict = vec![VERDICT_ERROR];
        verdict.extend_from_slice(reason.get(..end).unwrap_or_default().as_bytes());
        self.send(&verdict)
    }

    fn tell(&self, word: u8, what: &impl Serialize) -> Result<(), ControlError> {
        let mut message = vec![word];
        serde_json::to_writer(&mut message, what).map_err(ControlError::Write)?;
        self.send(&message)
    }

    fn send(&self, verdict: &[u8]) -> Result<(), ControlError> {
        retry_on_intr(|| rustix::net::send(&self.socket, verdict, SendFlags::NOSIGNAL)).map_err(ControlError::Send)?;
        // The channel and the log are read by different processes; keep what was printed ahead of the verdict.
        let _ = std::io::stdout().flush();
        Ok(())
    }

    /// Makes this the channel on descriptor 0, in the place of another.
    pub(crate) fn become_stdin(&self) -> nix::Result<()> {
        nix::unistd::dup2_stdin(&self.socket)
    }
}

impl From<OwnedFd> for ControlChannel {
    fn from(socket: OwnedFd) -> Self {
        Self { socket }
    }
}

fn descriptors(ancillary: &mut RecvAncillaryBuffer<'_>) -> Vec<OwnedFd> {
    let rights = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    rights.flatten().collect()
}

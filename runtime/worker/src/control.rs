//! The control channel of a contained worker: one assignment comes in, one verdict goes out.

use std::io::{IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::time::Duration;

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendFlags};
use serde::{Deserialize, Serialize};

use crate::source::{AssignedSource, ModelSource};

/// Largest assignment, in bytes.
const ASSIGNMENT_BYTES_MAX: usize = 16 << 10;

/// Longest reason sent for a failure, in bytes.
const REASON_BYTES_MAX: usize = 4096;

/// What is said before the assignment: ONNX Runtime is there.
const WORD_BLANK: u8 = b'B';

/// First byte of the verdict: the model is loaded and the listener is being served; [`Loading`] follows.
const VERDICT_READY: u8 = b'R';

/// First byte of the verdict: loading failed, the reason follows.
const VERDICT_ERROR: u8 = b'E';

/// Most sources of one model: the best one, and what serves where that cannot be used.
const SOURCES_MAX: usize = 2;

/// What a worker does with its model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Work {
    /// Answers inference requests.
    Serve,
    /// Optimises it, once, and hands the result out.
    Prepare,
}

/// What a worker is to do, and within which bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The endpoint's name, echoed in every reply.
    pub name: String,
    /// The revision, as the protocol's version string.
    pub version: String,
    pub work: Work,
    /// Threads that share one operator's work.
    pub intra_op_threads: NonZeroUsize,
    /// Limit of a body, on the wire and inflated, in bytes.
    pub body_bytes_max: usize,
    /// Most requests taken in at once.
    pub concurrency: NonZeroUsize,
}

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

/// An assignment as it is sent.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    name: String,
    version: String,
    work: Work,
    /// The best one first.
    sources: Vec<AssignedSource>,
    intra_op_threads: NonZeroUsize,
    body_bytes_max: usize,
    concurrency: NonZeroUsize,
}

/// An assignment with everything that came with it.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) assignment: Assignment,
    pub(crate) listener: UnixListener,
    /// The best one first, and at least one.
    pub(crate) sources: Vec<ModelSource>,
}

/// Why the control channel could not be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ControlError {
    #[error("descriptor 0 cannot be used as control channel")]
    Open(#[source] std::io::Error),
    #[error("no assignment could be received")]
    Receive(#[source] Errno),
    #[error("the assignment is larger than {ASSIGNMENT_BYTES_MAX} bytes")]
    TooLarge,
    #[error("no listener came with the assignment")]
    NoListener,
    #[error("the assignment carries {found} descriptors of models where {expected} are to be")]
    Descriptors { expected: usize, found: usize },
    #[error("the assignment names {0} sources of its model instead of 1 to {SOURCES_MAX}")]
    Sources(usize),
    #[error("the assignment is malformed")]
    Malformed(#[source] serde_json::Error),
    #[error("the verdict could not be written")]
    Write(#[source] serde_json::Error),
    #[error("the verdict could not be sent")]
    Send(#[source] Errno),
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

    /// Waits for the assignment, its listener and its model. `None` if the other end went away instead: nobody wants
    /// this worker any more.
    pub(crate) fn receive(&self) -> Result<Option<Received>, ControlError> {
        let mut message = vec![0; ASSIGNMENT_BYTES_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1 + SOURCES_MAX))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = retry_on_intr(|| {
            let parts = &mut [IoSliceMut::new(&mut message)];
            rustix::net::recvmsg(&self.socket, parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC)
        })
        .map_err(ControlError::Receive)?;
        if received.bytes == 0 {
            return Ok(None);
        }
        if received.flags.contains(ReturnFlags::TRUNC) {
            return Err(ControlError::TooLarge);
        }
        let descriptors = descriptors(&mut ancillary);
        message.truncate(received.bytes);
        Message::take(&message, descriptors).map(Some)
    }

    /// Reports that only an assignment is missing.
    pub(crate) fn blank(&self) -> Result<(), ControlError> {
        self.send(&[WORD_BLANK])
    }

    /// Reports that the model is loaded and served.
    pub(crate) fn ready(&self, loading: &Loading) -> Result<(), ControlError> {
        let mut verdict = vec![VERDICT_READY];
        serde_json::to_writer(&mut verdict, loading).map_err(ControlError::Write)?;
        self.send(&verdict)
    }

    /// Reports why the model could not be loaded.
    pub(crate) fn failed(&self, reason: &str) -> Result<(), ControlError> {
        let end = reason.floor_char_boundary(REASON_BYTES_MAX);
        let mut verdict = vec![VERDICT_ERROR];
        verdict.extend_from_slice(reason.get(..end).unwrap_or_default().as_bytes());
        self.send(&verdict)
    }

    fn send(&self, verdict: &[u8]) -> Result<(), ControlError> {
        retry_on_intr(|| rustix::net::send(&self.socket, verdict, SendFlags::NOSIGNAL)).map_err(ControlError::Send)?;
        // The channel and the log are read by different processes; keep what was printed ahead of the verdict.
        let _ = std::io::stdout().flush();
        Ok(())
    }
}

impl Message {
    /// Reads the text and gives each descriptor its place.
    fn take(text: &[u8], descriptors: Vec<OwnedFd>) -> Result<Received, ControlError> {
        let Self { name, version, work, sources, intra_op_threads, body_bytes_max, concurrency } =
            serde_json::from_slice(text).map_err(ControlError::Malformed)?;
        if sources.is_empty() || sources.len() > SOURCES_MAX {
            return Err(ControlError::Sources(sources.len()));
        }
        let expected = sources.iter().filter(|source| source.has_descriptor()).count();
        let mut descriptors = descriptors.into_iter();
        let listener = descriptors.next().ok_or(ControlError::NoListener)?.into();
        let miscounted = ControlError::Descriptors { expected, found: descriptors.len() };
        let taken: Option<Vec<_>> = sources.into_iter().map(|source| source.with(&mut descriptors)).collect();
        let sources = taken.filter(|_| descriptors.len() == 0).ok_or(miscounted)?;
        let assignment = Assignment { name, version, work, intra_op_threads, body_bytes_max, concurrency };
        Ok(Received { assignment, listener, sources })
    }
}

fn descriptors(ancillary: &mut RecvAncillaryBuffer<'_>) -> Vec<OwnedFd> {
    let rights = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    rights.flatten().collect()
}

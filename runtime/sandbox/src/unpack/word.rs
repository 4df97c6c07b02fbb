//! What the process that unpacks says to the one that watches it.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{BorrowedFd, OwnedFd},
};

use dormouse_spec::Digest;
use rustix::{
    io::retry_on_intr,
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
        SendFlags, SocketFlags, SocketType,
    },
};
use serde::{Deserialize, Serialize};

use crate::{creation::REPORT_BYTES_MAX, messages::LeftOut};

/// The answer to a directory.
const TAKEN: &[u8] = b"t";

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Word {
    /// Comes with a directory of the tree.
    Opaque,
    Unpacked(Unpacked),
    Refused {
        reason: String,
    },
}

/// What was found, to its end.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Unpacked {
    /// Of the bytes as they are stored.
    pub(super) blob: Digest,
    /// Of the same, decompressed.
    pub(super) diff_id: Digest,
    pub(super) bytes: u64,
    pub(super) entries: u64,
    pub(super) left_out: LeftOut,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum WordError {
    #[error("{operation} failed")]
    Socket {
        operation: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("nobody is left to answer")]
    NoAnswer,
    #[error("it said what is no word")]
    Malformed(#[source] serde_json::Error),
}

pub(super) fn pair() -> Result<(OwnedFd, OwnedFd), WordError> {
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(failed("making a socket pair"))
}

pub(super) fn send(socket: BorrowedFd<'_>, word: &Word, directory: Option<BorrowedFd<'_>>) -> Result<(), WordError> {
    let bytes = serde_json::to_vec(word).map_err(WordError::Malformed)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = directory.as_slice();
    if !descriptors.is_empty() {
        // There is room for one.
        ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    retry_on_intr(|| rustix::net::sendmsg(socket, &[IoSlice::new(&bytes)], &mut ancillary, SendFlags::NOSIGNAL))
        .map(drop)
        .map_err(failed("sending a word"))
}

/// Waits for the next word; `None` where the other side has ended.
pub(super) fn receive(socket: BorrowedFd<'_>) -> Result<Option<(Word, Option<OwnedFd>)>, WordError> {
    let mut bytes = [0; REPORT_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = retry_on_intr(|| {
        rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)
    });
    let length = match received {
        Ok(received) => received.bytes,
        Err(rustix::io::Errno::CONNRESET) => 0,
        Err(error) => return Err(failed("receiving a word")(error)),
    };
    let descriptor = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    if length == 0 {
        return Ok(None);
    }
    let word = serde_json::from_slice(bytes.get(..length).unwrap_or_default()).map_err(WordError::Malformed)?;
    Ok(Some((word, descriptor)))
}

/// Says that a directory was taken. Who does not hear answers is given none to wait for.
pub(super) fn acknowledge(socket: BorrowedFd<'_>) -> Result<(), WordError> {
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    retry_on_intr(|| rustix::net::send(socket, TAKEN, flags)).map(drop).map_err(failed("answering"))
}

/// Hands a directory over, and waits until it was taken: what is on its way counts against the sender's limit of
/// open files.
pub(super) fn hand_over(socket: BorrowedFd<'_>, directory: BorrowedFd<'_>) -> Result<(), WordError> {
    send(socket, &Word::Opaque, Some(directory))?;
    let mut answer = [0; TAKEN.len()];
    match retry_on_intr(|| rustix::io::read(socket, &mut answer)).map_err(failed("hearing the answer"))? {
        0 => Err(WordError::NoAnswer),
        _ => Ok(()),
    }
}

fn failed(operation: &'static str) -> impl FnOnce(rustix::io::Errno) -> WordError {
    move |source| WordError::Socket { operation, source: source.into() }
}

//! What a worker says on its control channel: that it is there, and then that it serves or why not. A
//! template says besides how servers ended that were forked of it.

use std::os::fd::BorrowedFd;

use rustix::{io::Errno, net::RecvFlags};

use serde::Deserialize;

use super::order::ServerNumber;
use crate::{
    error_chain,
    messages::{End, LoadPhases},
};

/// The longest reason a worker may give for a failed load.
const REASON_BYTES_MAX: usize = 4_096;

/// How many messages a worker may send: that it is there, and its verdict.
pub(crate) const WORDS_MAX: usize = 2;

/// One message of a worker's.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// ONNX Runtime is there; an assignment can come.
    Blank,
    Ready(LoadPhases),
    LoadFailed(String),
    /// How a server ended, of which a template was asked; none where it knows no such server.
    ServerEnded(ServerEnded),
    /// It closed its end, or said something that is not in the contract.
    NothingMore,
}

/// A template's answer to an order to reap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServerEnded {
    pub(crate) server: ServerNumber,
    pub(crate) ended: Option<End>,
}

/// How far the conversation has come. It goes one way, so a worker has no more to say than this.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    #[default]
    Nothing,
    Blank,
    Ready,
    /// Whatever else it was, it was the last.
    Ended,
}

impl Word {
    pub(crate) fn is_awaited(self) -> bool {
        matches!(self, Self::Nothing | Self::Blank)
    }

    pub(crate) fn is_ready(self) -> bool {
        self == Self::Ready
    }

    /// The next message, if one waits.
    pub(crate) fn read(self, channel: BorrowedFd<'_>) -> Option<Said> {
        let mut bytes = [0; REASON_BYTES_MAX + 1];
        let mut receive = || rustix::net::recv(channel, &mut bytes, RecvFlags::DONTWAIT);
        // Told once of who left without reading what it was told, ahead of what it said.
        let received = match receive() {
            Err(Errno::CONNRESET) => receive(),
            received => received,
        };
        match received {
            Ok((0, _)) => Some(Said::NothingMore),
            Ok((length, _)) => Some(match bytes.get(..length).and_then(<[u8]>::split_first) {
                Some((b'B', [])) if self == Self::Nothing => Said::Blank,
                Some((b'R', phases)) if self == Self::Blank => {
                    LoadPhases::of_worker(phases).map_or(Said::NothingMore, Said::Ready)
                }
                Some((b'X', ended)) if self == Self::Ready => {
                    serde_json::from_slice(ended).map_or(Said::NothingMore, Said::ServerEnded)
                }
                Some((b'E', reason)) if self.is_awaited() => {
                    Said::LoadFailed(error_chain::on_one_line(&String::from_utf8_lossy(reason)))
                }
                _ => Said::NothingMore,
            }),
            Err(Errno::AGAIN | Errno::INTR) => None,
            Err(_) => Some(Said::NothingMore),
        }
    }

    pub(crate) fn heard(&mut self, said: &Said) {
        *self = match said {
            Said::Blank => Self::Blank,
            Said::Ready(_) | Said::ServerEnded(_) => Self::Ready,
            Said::LoadFailed(_) | Said::NothingMore => Self::Ended,
        };
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::fd::AsFd;

    use rustix::net::SendFlags;

    use super::*;
    use crate::channel;

    /// As a template does that cannot fork: what the server was told goes down with its channel.
    #[test]
    fn who_leaves_without_reading_is_heard_all_the_same() {
        let (ours, theirs) = channel::pair().unwrap();
        rustix::net::send(&theirs, b"Eno fork", SendFlags::empty()).unwrap();
        rustix::net::send(&ours, b"serve", SendFlags::empty()).unwrap();
        drop(theirs);
        assert_eq!(Word::Blank.read(ours.as_fd()), Some(Said::LoadFailed("no fork".to_owned())));
        assert_eq!(Word::Blank.read(ours.as_fd()), Some(Said::NothingMore));
    }
}

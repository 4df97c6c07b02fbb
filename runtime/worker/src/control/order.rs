//! What a template is told to do, again and again, and what each of its servers is told, once.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;

use serde::{Deserialize, Serialize};

use super::ControlChannel;

/// Most control groups that one server enters: one for each hierarchy.
const ENTRANCES_MAX: usize = 16;

/// The listener and the log of a server come before its entrances.
const BEFORE_ENTRANCES: usize = 2;

/// Most descriptors with one order.
pub(super) const DESCRIPTORS_MAX: usize = BEFORE_ENTRANCES + ENTRANCES_MAX;

/// One order to a template.
#[derive(Debug)]
pub(crate) enum Order {
    /// Fork a server, which waits on its own channel for what it is to serve.
    Fork { server: u64, control: ControlChannel },
    /// All processes of the server are killed; take its status.
    Reap { server: u64 },
}

/// What is a server's own, and makes it serve.
#[derive(Debug)]
pub(crate) struct Handover {
    pub(crate) listener: UnixListener,
    /// The end that is written to.
    pub(crate) log: OwnedFd,
    pub(crate) entrances: Entrances,
}

/// Open files through which a process puts itself into control groups.
#[derive(Debug)]
pub(crate) struct Entrances(Vec<OwnedFd>);

/// How a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Ended {
    Code(i32),
    Signal(i32),
}

/// An order as it is sent to a template.
#[derive(Debug, Deserialize)]
#[serde(tag = "order", rename_all = "kebab-case", deny_unknown_fields)]
enum Message {
    Fork { server: u64 },
    Reap { server: u64 },
}

/// The one to a server.
#[derive(Debug, Deserialize)]
#[serde(tag = "order", rename_all = "kebab-case", deny_unknown_fields)]
enum ServerMessage {
    Serve {},
}

/// Why an order is none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OrderError {
    #[error("the order is malformed")]
    Malformed(#[source] serde_json::Error),
    #[error("the order to fork carries {0} descriptors, not the server's channel")]
    Fork(usize),
    #[error("the order to serve carries {0} descriptors, not a listener, a log and 1 to {ENTRANCES_MAX} entrances")]
    Serve(usize),
    #[error("the order to reap carries {0} descriptors instead of none")]
    Reap(usize),
}

impl Order {
    pub(super) fn read(text: &[u8], descriptors: Vec<OwnedFd>) -> Result<Self, OrderError> {
        match serde_json::from_slice(text).map_err(OrderError::Malformed)? {
            Message::Fork { server } => match <[OwnedFd; 1]>::try_from(descriptors) {
                Ok([control]) => Ok(Self::Fork { server, control: control.into() }),
                Err(descriptors) => Err(OrderError::Fork(descriptors.len())),
            },
            Message::Reap { server } if descriptors.is_empty() => Ok(Self::Reap { server }),
            Message::Reap { .. } => Err(OrderError::Reap(descriptors.len())),
        }
    }
}

impl Handover {
    pub(super) fn read(text: &[u8], descriptors: Vec<OwnedFd>) -> Result<Self, OrderError> {
        let ServerMessage::Serve {} = serde_json::from_slice(text).map_err(OrderError::Malformed)?;
        let miscounted = OrderError::Serve(descriptors.len());
        let mut descriptors = descriptors.into_iter();
        let (Some(listener), Some(log)) = (descriptors.next(), descriptors.next()) else { return Err(miscounted) };
        let entrances: Vec<OwnedFd> = descriptors.collect();
        if entrances.is_empty() || entrances.len() > ENTRANCES_MAX {
            return Err(miscounted);
        }
        Ok(Self { listener: listener.into(), log, entrances: Entrances(entrances) })
    }
}

impl Entrances {
    /// Moves this process, which has one thread: in version 1 of control groups it is the thread that moves.
    pub(crate) fn enter(self) -> io::Result<()> {
        self.0.into_iter().try_for_each(|entrance| File::from(entrance).write_all(b"0"))
    }
}

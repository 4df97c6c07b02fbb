use std::{os::fd::OwnedFd, time::Duration};

use dormouse_sandbox::{
    channel::ChannelError,
    messages::{Event, PROTOCOL_VERSION, ReplicaReport, Request},
};
use tokio::io::{Interest, unix::AsyncFd};

use super::{LinkError, Socket, Welcome};

/// How long the spawner may be silent before the last replica is told.
const HANDSHAKE_SILENCE_MAX: Duration = Duration::from_secs(30);

pub(super) async fn greet(socket: &mut AsyncFd<Socket>) -> Result<Welcome, LinkError> {
    let hello = Request::Hello { version: PROTOCOL_VERSION };
    let told = |source| LinkError::Channel { operation: "greeting over", source };
    socket.get_ref().0.try_send(&hello, &[]).map_err(told)?;
    let mut welcome = welcomed(next(socket).await?)?;
    loop {
        match adopted(next(socket).await?)? {
            Told::Replica(replica) => welcome.replicas.push(*replica),
            Told::Other => {}
            Told::All => return Ok(welcome),
        }
    }
}

fn welcomed((event, descriptors): (Event, Vec<OwnedFd>)) -> Result<Welcome, LinkError> {
    match event {
        Event::Welcome { version, .. } if version != PROTOCOL_VERSION => {
            Err(LinkError::Version { ours: PROTOCOL_VERSION, theirs: version })
        }
        Event::Welcome { instance, settings, listeners, image_ids, .. } if listeners.len() == descriptors.len() => {
            let listeners = listeners.into_iter().zip(descriptors).collect();
            Ok(Welcome { instance, settings, listeners, image_ids, replicas: Vec::new() })
        }
        other => Err(out_of_order(&other, "a welcome with its listeners")),
    }
}

/// What follows a welcome.
enum Told {
    Replica(Box<(ReplicaReport, OwnedFd)>),
    /// Of the spawner itself; it is told again when it changes.
    Other,
    All,
}

fn adopted((event, descriptors): (Event, Vec<OwnedFd>)) -> Result<Told, LinkError> {
    match (event, descriptors.into_iter().next()) {
        (Event::Adopt(report), Some(log)) => Ok(Told::Replica(Box::new((*report, log)))),
        (Event::SlowTurn { .. }, _) => Ok(Told::Other),
        (Event::Synced, _) => Ok(Told::All),
        (other, _) => Err(out_of_order(&other, "a replica with its log, or the end of the list")),
    }
}

fn out_of_order(event: &Event, awaited: &'static str) -> LinkError {
    LinkError::OutOfOrder { told: format!("{event:?}"), awaited }
}

async fn next(socket: &mut AsyncFd<Socket>) -> Result<(Event, Vec<OwnedFd>), LinkError> {
    let silent = |_| LinkError::Silent { seconds: HANDSHAKE_SILENCE_MAX.as_secs() };
    tokio::time::timeout(HANDSHAKE_SILENCE_MAX, receive(socket)).await.map_err(silent)?
}

async fn receive(socket: &mut AsyncFd<Socket>) -> Result<(Event, Vec<OwnedFd>), LinkError> {
    loop {
        let mut ready = socket.ready_mut(Interest::READABLE).await.map_err(LinkError::Register)?;
        match ready.get_inner_mut().0.try_receive() {
            Ok(Some(message)) => return Ok(message),
            Ok(None) => ready.clear_ready(),
            Err(ChannelError::Closed) => return Err(LinkError::NoSpawner),
            Err(source) => return Err(LinkError::Channel { operation: "reading", source }),
        }
    }
}

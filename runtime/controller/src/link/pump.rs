use std::{os::fd::OwnedFd, time::Duration};

use dormouse_sandbox::{
    channel::ChannelError,
    messages::{Event, ExitCause, ReplicaId},
};
use tokio::{
    io::{Interest, Ready},
    sync::mpsc,
    time::sleep,
};

use super::{DaemonSigns, Fact, InboxFull, Outgoing, Routes, SpawnerLink, has_room};

/// Messages read before the task looks at what is to be sent.
const READS_PER_TURN_MAX: usize = 64;

/// How long hearing the spawner pauses where this process has too few descriptors left.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(100);

/// Why the channel ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the channel to the spawner ended")]
    Channel(#[from] ChannelError),
    #[error("waiting for the channel to the spawner failed")]
    Wait(#[from] std::io::Error),
    #[error("the spawner told more than it was asked")]
    Flood(#[from] InboxFull),
}

/// Reads and sends until the channel ends, then says so to whoever waits for
/// [`SpawnerLink::closed`].
///
/// This task never waits for an owner of replicas: owners wait for it when they ask, so waiting for
/// them in turn could stop both for ever.
pub(super) async fn run(
    mut link: SpawnerLink,
    mut routes: Routes,
    daemon: DaemonSigns,
    mut outgoing: mpsc::Receiver<Outgoing>,
) {
    let mut unsent = None;
    let mut was_short = false;
    let ended = loop {
        if unsent.is_none() {
            unsent = outgoing.try_recv().ok();
        }
        let interest = if unsent.is_some() { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        let turn = tokio::select! {
            ready = link.socket.ready_mut(interest) => match ready {
                Ok(mut ready) => {
                    let able = ready.ready();
                    turn(&mut ready, able, &mut unsent, &mut routes, &daemon)
                }
                Err(error) => Err(error.into()),
            },
            next = outgoing.recv(), if unsent.is_none() => match next {
                Some(next) => {
                    unsent = Some(next);
                    Ok(Hearing::All)
                }
                // Nobody is left who could ask.
                None => break None,
            },
        };
        let is_short = match turn {
            Ok(hearing) => hearing == Hearing::Short,
            Err(error) => break Some(error),
        };
        if is_short && !was_short {
            tracing::warn!("too few descriptors are left: the spawner is not heard until some are free");
        }
        was_short = is_short;
        if is_short {
            sleep(SHORTAGE_PAUSE).await;
        }
    };
    if let Some(error) = ended {
        tracing::error!(error = &error as &dyn std::error::Error, "the node ends");
    }
    link.closed.send_replace(true);
}

/// Whether what the spawner tells is taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hearing {
    All,
    /// It waits: a message comes once, and a descriptor that finds no place would be lost with it.
    Short,
}

type ReadyGuard<'a> = tokio::io::unix::AsyncFdReadyMutGuard<'a, super::Socket>;

fn turn(
    ready: &mut ReadyGuard<'_>,
    able: Ready,
    unsent: &mut Option<Outgoing>,
    routes: &mut Routes,
    daemon: &DaemonSigns,
) -> Result<Hearing, Ended> {
    let mut hearing = Hearing::All;
    if able.is_readable() || able.is_read_closed() {
        hearing = read(ready, routes, daemon)?;
    }
    if able.is_writable() || able.is_write_closed() {
        send(ready, unsent, routes)?;
    }
    Ok(hearing)
}

fn read(ready: &mut ReadyGuard<'_>, routes: &mut Routes, daemon: &DaemonSigns) -> Result<Hearing, Ended> {
    for _ in 0..READS_PER_TURN_MAX {
        if !has_room(ready.get_inner()) {
            return Ok(Hearing::Short);
        }
        let Some((event, descriptors)) = ready.get_inner_mut().0.try_receive()? else {
            ready.clear_ready_matching(Ready::READABLE);
            return Ok(Hearing::All);
        };
        hand_on(event, descriptors, routes, daemon)?;
    }
    Ok(Hearing::All)
}

fn send(ready: &mut ReadyGuard<'_>, unsent: &mut Option<Outgoing>, routes: &mut Routes) -> Result<(), Ended> {
    let Some(outgoing) = unsent.take() else { return Ok(()) };
    match ready.get_inner().0.try_send(&outgoing.request, &[]) {
        Ok(()) => {
            if let Some((replica, facts)) = outgoing.route {
                routes.insert(replica, facts);
            }
            Ok(())
        }
        // It cannot have been made as it is. Its owner is told; others have no part in it.
        Err(error @ ChannelError::TooLarge { .. }) if outgoing.route.is_some() => {
            if let Some((replica, facts)) = outgoing.route {
                let reason = error.to_string();
                let cause = ExitCause::NotCreated { reason };
                facts.tell(Fact::Spawner(Event::Exited { replica: replica.clone(), cause }, None))?;
                facts.tell(Fact::Spawner(Event::Removed { replica }, None))?;
            }
            Ok(())
        }
        Err(ChannelError::Full) => {
            ready.clear_ready_matching(Ready::WRITABLE);
            *unsent = Some(outgoing);
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

fn hand_on(event: Event, descriptors: Vec<OwnedFd>, routes: &mut Routes, daemon: &DaemonSigns) -> Result<(), Ended> {
    let Some(event) = daemon.layers.take(event) else { return Ok(()) };
    match event {
        Event::Drain => {
            daemon.drain.send_replace(true);
            return Ok(());
        }
        Event::Blanks { ready } => {
            daemon.blanks.set(ready.into());
            return Ok(());
        }
        Event::SlowTurn { micros } => {
            daemon.slowest_turn.set(Duration::from_micros(micros).as_secs_f64());
            return Ok(());
        }
        _ => {}
    }
    let Some(replica) = subject(&event).cloned() else {
        tracing::warn!(?event, "the spawner told something about no replica");
        return Ok(());
    };
    let Some(owner) = routes.get(&replica) else {
        tracing::debug!(?event, "the spawner told something about a replica nobody owns");
        return Ok(());
    };
    let is_last = matches!(event, Event::Removed { .. });
    owner.tell(Fact::Spawner(event, descriptors.into_iter().next()))?;
    if is_last {
        routes.remove(&replica);
    }
    Ok(())
}

fn subject(event: &Event) -> Option<&ReplicaId> {
    match event {
        Event::Created { replica, .. }
        | Event::Ready { replica, .. }
        | Event::Socket { replica, .. }
        | Event::NoSocket { replica, .. }
        | Event::LoadFailed { replica, .. }
        | Event::Frozen { replica }
        | Event::Thawed { replica, .. }
        | Event::Exited { replica, .. }
        | Event::Removed { replica } => Some(replica),
        Event::Refused { replica, .. } => replica.as_ref(),
        Event::Welcome { .. }
        | Event::Adopt(_)
        | Event::Synced
        | Event::LayerUnpacked { .. }
        | Event::LayerFailed { .. }
        | Event::LayerRemoved { .. }
        | Event::Blanks { .. }
        | Event::SlowTurn { .. }
        | Event::Drain => None,
    }
}

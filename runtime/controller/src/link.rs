//! The node's end of the channel to the spawner: one task reads what the spawner tells and hands
//! it to the owner of the replica it is about, and sends what they ask, in their order.

mod handshake;
mod pump;

use std::{collections::HashMap, future::Future, os::fd::OwnedFd};

use dormouse_sandbox::{
    channel::{Channel, ChannelError},
    messages::{Event, ImageIdsMode, Listener, ReplicaId, ReplicaReport, Request},
};
use tokio::{
    io::unix::AsyncFd,
    sync::{mpsc, oneshot, watch},
};

use crate::{
    images::LayerAnswers,
    probe::Seen,
    readiness::Look,
    registered::{self, register},
    watch::LooksFor,
};

/// Requests that wait for the spawner; who asks more waits.
const OUTBOX_REQUESTS_MAX: usize = 256;
/// Facts that wait for one owner. An owner asks each thing of a replica once and waits for its
/// answer, and has at most a thousand replicas, so a full inbox means a broken spawner.
pub(crate) const FACTS_MAX: usize = 16 << 10;

/// The node's end of the channel to the spawner.
#[derive(Debug)]
pub struct SpawnerLink {
    socket: AsyncFd<Socket>,
    closed: watch::Sender<bool>,
}

/// What the spawner told at the beginning.
#[derive(Debug)]
pub struct Welcome {
    pub instance: String,
    /// The daemon's configuration, as the composition root wrote it.
    pub settings: String,
    pub listeners: Vec<(Listener, OwnedFd)>,
    /// As whom the host sees processes of images.
    pub image_ids: ImageIdsMode,
    /// Replicas that outlived the node process before this one, each with its log pipe.
    pub replicas: Vec<(ReplicaReport, OwnedFd)>,
}

#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("this is no channel to a spawner; `dormouse node` is started by `dormouse daemon`")]
    NoSpawner,
    #[error("the other side of the channel has uid {uid}: only root may be the spawner")]
    NotRoot { uid: u32 },
    #[error("the spawner speaks version {theirs} of the protocol, this node {ours}: restart the daemon")]
    Version { ours: u32, theirs: u32 },
    #[error("the spawner told `{told}` where {awaited} was expected")]
    OutOfOrder { told: String, awaited: &'static str },
    #[error("the spawner told nothing for {seconds} s")]
    Silent { seconds: u64 },
    #[error("{operation} the channel to the spawner failed")]
    Channel {
        operation: &'static str,
        #[source]
        source: ChannelError,
    },
    #[error("registering the channel to the spawner failed")]
    Register(#[source] std::io::Error),
}

type Socket = registered::Socket<Request, Event>;

/// Free descriptors without which no message is taken in: one of them can come with it, and other
/// threads may take some at the same moment.
const SPARE_DESCRIPTORS: usize = 4;

/// Whether the process has as many descriptors left as a message can need.
fn has_room(socket: &Socket) -> bool {
    let spare = || rustix::io::fcntl_dupfd_cloexec(&socket.0, 0);
    let spares: Result<Vec<OwnedFd>, _> = std::iter::repeat_with(spare).take(SPARE_DESCRIPTORS).collect();
    spares.is_ok()
}

/// What reaches the owner of a replica.
#[derive(Debug)]
pub(crate) enum Fact {
    /// From the spawner; a log pipe comes with [`Event::Created`], a socket with [`Event::Socket`].
    Spawner(Event, Option<OwnedFd>),
    /// What was seen of a process of an image that starts.
    Looked(ReplicaId, Look),
    /// What was seen of one that served and is to end for it.
    Unwell(ReplicaId, Seen),
    /// What was seen of one that served and takes no requests for now.
    Unready(ReplicaId, Seen),
    /// It is seen to take requests, whether or not it did not before.
    ReadyAgain(ReplicaId),
    /// Whether somebody who looks at one that served is yet to come to a verdict.
    Doubts(ReplicaId, LooksFor, bool),
    Memory(MemoryFact),
}

/// The ledger's answers and orders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MemoryFact {
    Granted(ReplicaId),
    Short(ReplicaId, dormouse_spec::Bytes),
    Evict(ReplicaId),
}

/// Where facts for one owner go.
///
/// Each on the heap: a channel sets aside the places of its next 32 messages, in every one of a thousand
/// endpoints at rest.
#[derive(Debug, Clone)]
pub(crate) struct FactSender(mpsc::Sender<Box<Fact>>);

/// Where they come from.
#[derive(Debug)]
pub(crate) struct FactInbox(mpsc::Receiver<Box<Fact>>);

pub(crate) fn fact_inbox() -> (FactSender, FactInbox) {
    let (sender, receiver) = mpsc::channel(FACTS_MAX);
    (FactSender(sender), FactInbox(receiver))
}

impl FactInbox {
    /// `None` once nobody can tell anything any more.
    pub(crate) async fn recv(&mut self) -> Option<Fact> {
        self.0.recv().await.map(|fact| *fact)
    }
}

/// An owner's inbox is full: somebody does not keep to the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{FACTS_MAX} facts wait for one owner")]
pub(crate) struct InboxFull;

impl FactSender {
    /// Never waits: facts come up from tasks that nothing may hold up. What is for an owner that is
    /// gone is dropped.
    pub(crate) fn tell(&self, fact: Fact) -> Result<(), InboxFull> {
        match self.0.try_send(Box::new(fact)) {
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => Err(InboxFull),
        }
    }
}

/// Where that goes which the spawner tells about itself and the daemon.
#[derive(Debug)]
pub(crate) struct DaemonSigns {
    /// Becomes true when the daemon is told to end.
    pub(crate) drain: watch::Sender<bool>,
    /// The longest turn of the spawner's loop, in seconds.
    pub(crate) slowest_turn: prometheus::Gauge,
    /// Blanks that wait to be claimed.
    pub(crate) blanks: prometheus::IntGauge,
    pub(crate) layers: LayerAnswers,
}

/// Who is told of which replica.
pub(crate) type Routes = HashMap<ReplicaId, FactSender>;

/// A request on its way out; a creation names who is told what becomes of it.
#[derive(Debug)]
struct Outgoing {
    request: Request,
    route: Option<(ReplicaId, FactSender)>,
    /// Told, by being dropped, once the request is with the kernel or never will be.
    _sent: Option<oneshot::Sender<()>>,
}

/// Asks the spawner.
#[derive(Debug, Clone)]
pub(crate) struct Outbox(mpsc::Sender<Outgoing>);

impl Outbox {
    /// Waits while the spawner does not keep up. Once the channel has ended nothing is sent: the
    /// process is about to end as well.
    pub(crate) async fn send(&self, request: Request) {
        let _ = self.0.send(Outgoing { request, route: None, _sent: None }).await;
    }

    pub(crate) async fn create(&self, spec: dormouse_sandbox::messages::ReplicaSpec, facts: FactSender) {
        let route = Some((spec.replica.clone(), facts));
        let _ = self.0.send(Outgoing { request: Request::Create(Box::new(spec)), route, _sent: None }).await;
    }

    /// The last request of a process that is about to end: returns once it has left it.
    pub(crate) async fn send_last(&self, request: Request) {
        let (sent, is_sent) = oneshot::channel();
        let _ = self.0.send(Outgoing { request, route: None, _sent: Some(sent) }).await;
        let _ = is_sent.await;
    }
}

/// An outbox whose requests a test reads.
#[cfg(test)]
pub(crate) fn outbox() -> (Outbox, Requests) {
    let (sender, outgoing) = mpsc::channel(OUTBOX_REQUESTS_MAX);
    (Outbox(sender), Requests(outgoing))
}

#[cfg(test)]
pub(crate) struct Requests(mpsc::Receiver<Outgoing>);

#[cfg(test)]
impl Requests {
    pub(crate) async fn next(&mut self) -> Option<Request> {
        self.0.recv().await.map(|outgoing| outgoing.request)
    }
}

impl SpawnerLink {
    /// Says hello over `socket` and waits for the welcome and all replicas.
    ///
    /// # Errors
    /// Where the other side is no spawner, or of another version.
    pub async fn connect(socket: OwnedFd) -> Result<(Self, Welcome), LinkError> {
        let uid = rustix::net::sockopt::socket_peercred(&socket).map_err(|_| LinkError::NoSpawner)?.uid;
        if !uid.is_root() {
            return Err(LinkError::NotRoot { uid: uid.as_raw() });
        }
        let mut socket = register(Channel::new(socket)).map_err(LinkError::Register)?;
        let welcome = handshake::greet(&mut socket).await?;
        Ok((Self { socket, closed: watch::Sender::new(false) }, welcome))
    }

    /// Resolves when the channel has ended. The node process must end then: the spawner is gone,
    /// or will start it anew.
    pub fn closed(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut closed = self.closed.subscribe();
        async move {
            // An error means that the task that would say so is gone, which says the same.
            let _ = closed.wait_for(|closed| *closed).await;
        }
    }

    /// Starts the task that reads and sends.
    pub(crate) fn run(self, routes: Routes, daemon: DaemonSigns) -> Outbox {
        let (sender, outgoing) = mpsc::channel(OUTBOX_REQUESTS_MAX);
        tokio::spawn(pump::run(self, routes, daemon, outgoing));
        Outbox(sender)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use dormouse_sandbox::messages::PROTOCOL_VERSION;

    use super::*;

    /// More than the outbox and the socket hold together.
    const REQUESTS: u64 = 5_000;

    fn thaw(serial: u64) -> Request {
        Request::Thaw { replica: ReplicaId::new(&"demo".parse().unwrap(), 1, serial) }
    }

    #[tokio::test]
    async fn a_spawner_that_falls_behind_gets_every_request_in_order() {
        let (ours, theirs) = dormouse_sandbox::channel::pair().unwrap();
        let mut spawner = Channel::<Event, Request>::new(theirs);
        let (instance, settings) = (String::new(), String::new());
        let welcome = Event::Welcome {
            version: PROTOCOL_VERSION,
            instance,
            settings,
            listeners: Vec::new(),
            image_ids: dormouse_sandbox::messages::ImageIdsMode::Distinct,
        };
        spawner.try_send(&welcome, &[]).unwrap();
        spawner.try_send(&Event::Synced, &[]).unwrap();
        let (link, _) = SpawnerLink::connect(ours).await.unwrap();
        let slowest_turn = prometheus::Gauge::new("turn", "turn").unwrap();
        let blanks = prometheus::IntGauge::new("blanks", "blanks").unwrap();
        let layers = LayerAnswers::default();
        let signs = DaemonSigns { drain: watch::Sender::new(false), slowest_turn, blanks, layers };
        let outbox = link.run(Routes::new(), signs);
        let asking = tokio::spawn(async move {
            for serial in 0..REQUESTS {
                outbox.send(thaw(serial)).await;
            }
            outbox.send_last(Request::Drained).await;
        });
        // Nothing is read until nothing more can be sent.
        for _ in 0..REQUESTS {
            tokio::task::yield_now().await;
        }
        assert!(!asking.is_finished());
        let mut received = Vec::new();
        while received.last() != Some(&Request::Drained) {
            match spawner.try_receive().unwrap() {
                Some((request, _)) => received.push(request),
                None => tokio::task::yield_now().await,
            }
        }
        let expected = [Request::Hello { version: PROTOCOL_VERSION }]
            .into_iter()
            .chain((0..REQUESTS).map(thaw))
            .chain([Request::Drained]);
        assert!(received.into_iter().eq(expected));
        asking.await.unwrap();
    }
}

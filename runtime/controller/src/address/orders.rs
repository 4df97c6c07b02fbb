//! Commands that are run inside a replica, by the one socket of what runs them there.

use std::{
    io,
    os::fd::OwnedFd,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use dormouse_sandbox::{
    channel::{Channel, ChannelError},
    commands::{Order, Report},
    messages::{ReplicaId, Request, SocketKind},
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::Notify,
    task::yield_now,
    time::timeout,
};

use crate::{
    link::Outbox,
    registered::{Socket, register},
};

/// How much longer than the command what runs it may take to tell.
const TELLING_MAX: Duration = Duration::from_secs(1);
/// Reports of other orders that are read while one is awaited. An honest runner has one of an order before, and one of
/// each of a node process before this.
const FOREIGN_REPORTS_MAX: u32 = 64;

/// Why it is not known how a command ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OrderError {
    /// Not the replica's fault.
    #[error("there is no way to what runs its commands: {0}")]
    NoSocket(#[source] io::Error),
    #[error("the replica was made without this command")]
    Unknown,
    #[error("what runs commands in it does not tell")]
    Late,
    #[error("what runs commands in it tells of others without end")]
    Flood,
    #[error("what runs commands in it is gone, or was taken over by a process of its own: {0}")]
    Gone(#[source] ChannelError),
}

/// Those of one replica. One runs at a time: who asks for another while one runs ends that.
#[derive(Debug)]
pub(crate) struct Orders {
    /// As it was made with.
    commands: Vec<Vec<String>>,
    /// Once it was needed.
    conversation: tokio::sync::Mutex<Option<Conversation>>,
    /// What the spawner answered, until it is taken.
    delivered: Mutex<Option<io::Result<OwnedFd>>>,
    changed: Notify,
}

impl Orders {
    pub(super) fn of(commands: Vec<Vec<String>>) -> Self {
        Self { commands, conversation: None.into(), delivered: Mutex::default(), changed: Notify::new() }
    }

    /// How it ended. That it takes time to get to what runs it is not the replica's fault.
    pub(super) async fn run(
        &self,
        command: &[String],
        longest: Duration,
        replica: &ReplicaId,
        outbox: &Outbox,
    ) -> Result<Report, OrderError> {
        let command = self.commands.iter().position(|it| it == command).ok_or(OrderError::Unknown)?;
        let mut conversation = self.conversation.lock().await;
        let conversation = match conversation.as_mut() {
            Some(conversation) => conversation,
            None => {
                let socket = self.socket(replica, outbox).await.map_err(OrderError::NoSocket)?;
                conversation.insert(Conversation::over(socket).map_err(OrderError::NoSocket)?)
            }
        };
        let timeout_ms = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
        timeout(longest.saturating_add(TELLING_MAX), conversation.ask(command, timeout_ms))
            .await
            .unwrap_or(Err(OrderError::Late))
    }

    /// What was asked for is there, or will not come.
    pub(super) fn deliver(&self, socket: io::Result<OwnedFd>) {
        *self.delivered.lock().unwrap_or_else(PoisonError::into_inner) = Some(socket);
        self.changed.notify_one();
    }

    /// Whoever calls this holds the lock of the conversation.
    async fn socket(&self, replica: &ReplicaId, outbox: &Outbox) -> io::Result<OwnedFd> {
        // Of one who gave up. That there was none then says nothing of now.
        if let Some(Ok(socket)) = self.take() {
            return Ok(socket);
        }
        outbox.send(Request::Socket { replica: replica.clone(), kind: SocketKind::Orders }).await;
        loop {
            let changed = self.changed.notified();
            if let Some(delivered) = self.take() {
                return delivered;
            }
            changed.await;
        }
    }

    fn take(&self) -> Option<io::Result<OwnedFd>> {
        self.delivered.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[derive(Debug)]
struct Conversation {
    socket: AsyncFd<Socket<Order, Report>>,
    /// Of the last order. Others may have given some before: the node process before this one, for one.
    number: u64,
}

impl Conversation {
    fn over(socket: OwnedFd) -> io::Result<Self> {
        Ok(Self { socket: register(Channel::without_descriptors(socket))?, number: first_number() })
    }

    async fn ask(&mut self, command: usize, timeout_ms: u64) -> Result<Report, OrderError> {
        self.number = self.number.wrapping_add(1);
        let order = Order { number: self.number, command, timeout_ms };
        self.send(&order).await.map_err(OrderError::Gone)?;
        for _ in 0..FOREIGN_REPORTS_MAX {
            let report = self.receive().await.map_err(OrderError::Gone)?;
            if report.number == self.number {
                return Ok(report);
            }
            // Of an order whose outcome nobody waited for. Or somebody sends them faster than they are read: what
            // waits for a descriptor lets nobody else run, and no time run out, while that can be read.
            yield_now().await;
        }
        Err(OrderError::Flood)
    }

    async fn send(&mut self, order: &Order) -> Result<(), ChannelError> {
        loop {
            let mut ready = self.socket.ready_mut(Interest::WRITABLE).await.map_err(waiting)?;
            match ready.get_inner_mut().0.try_send(order, &[]) {
                Err(ChannelError::Full) => ready.clear_ready(),
                sent => return sent,
            }
        }
    }

    async fn receive(&mut self) -> Result<Report, ChannelError> {
        loop {
            let mut ready = self.socket.ready_mut(Interest::READABLE).await.map_err(waiting)?;
            match ready.get_inner_mut().0.try_receive()? {
                Some((report, _)) => return Ok(report),
                None => ready.clear_ready(),
            }
        }
    }
}

fn waiting(source: io::Error) -> ChannelError {
    ChannelError::Socket { operation: "waiting", source }
}

/// Another than those of a node process before: it is of this process's own.
fn first_number() -> u64 {
    u64::from(std::process::id()) << 32
}

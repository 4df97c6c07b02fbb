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
};

use crate::{
    link::Outbox,
    registered::{Socket, register},
};

/// Why it is not known how a command ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OrderError {
    /// Not the replica's fault.
    #[error("there is no way to what runs its commands: {0}")]
    NoSocket(#[source] io::Error),
    #[error("the replica was made without this command")]
    Unknown,
    #[error("what runs commands in it is gone: a process of its own must have ended it ({0})")]
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

    /// How it ended, in whatever time that takes.
    pub(super) async fn run(
        &self,
        command: &[String],
        timeout: Duration,
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
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        conversation.ask(command, timeout_ms).await.map_err(OrderError::Gone)
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

    async fn ask(&mut self, command: usize, timeout_ms: u64) -> Result<Report, ChannelError> {
        self.number = self.number.wrapping_add(1);
        let order = Order { number: self.number, command, timeout_ms };
        self.send(&order).await?;
        loop {
            let report = self.receive().await?;
            // Of an order whose outcome nobody waited for.
            if report.number == self.number {
                return Ok(report);
            }
        }
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

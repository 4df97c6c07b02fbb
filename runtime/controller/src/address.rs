//! How a replica is reached: by the Unix socket that a worker serves on, or by sockets that were made where a
//! process of an image listens.

mod orders;

use std::{
    collections::VecDeque,
    io,
    net::{Ipv4Addr, SocketAddr},
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use dormouse_sandbox::{
    commands::Report,
    messages::{ReplicaId, Request, SocketKind},
};
use dormouse_spec::AppProtocol;
use rustix::net::sockopt;
use tokio::{
    net::{TcpSocket, TcpStream, UnixStream},
    sync::Notify,
};

pub(crate) use self::orders::OrderError;
use self::orders::Orders;
use crate::link::Outbox;

/// Sockets of one replica that wait to be connected, so that a connection need not wait for the spawner.
const SOCKETS_AHEAD: usize = 2;

/// Where a replica takes requests. Cheap to clone.
#[derive(Debug, Clone)]
pub enum Address {
    /// The Unix socket that a worker serves on.
    Unix(PathBuf),
    /// A port in the replica's own network namespace.
    Inside(Arc<Inside>),
}

/// A connection to a replica.
#[derive(Debug)]
pub enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Address {
    /// # Errors
    /// Where the kernel refuses the connection, or no socket can be had.
    pub async fn connect(&self) -> io::Result<Stream> {
        match self {
            Self::Unix(path) => Ok(Stream::Unix(UnixStream::connect(path).await?)),
            Self::Inside(inside) => Ok(Stream::Tcp(inside.connect(inside.port).await?)),
        }
    }

    /// What is spoken there.
    #[must_use]
    pub fn protocol(&self) -> AppProtocol {
        match self {
            Self::Inside(inside) => inside.protocol,
            Self::Unix(_) => AppProtocol::Http1,
        }
    }

    /// Where it is a port inside the replica.
    pub(crate) fn inside(&self) -> Option<&Arc<Inside>> {
        match self {
            Self::Inside(inside) => Some(inside),
            Self::Unix(_) => None,
        }
    }
}

/// The inside of one replica, as far as this process gets: TCP sockets that the spawner makes in its network
/// namespace, and commands that it was made with.
#[derive(Debug)]
pub struct Inside {
    replica: ReplicaId,
    port: u16,
    protocol: AppProtocol,
    outbox: Outbox,
    stock: Mutex<Stock>,
    changed: Notify,
    orders: Orders,
}

#[derive(Debug, Default)]
struct Stock {
    ready: VecDeque<OwnedFd>,
    /// On their way.
    asked: usize,
    /// Connections that wait for one.
    waiting: usize,
    /// Why the last one that was asked for is not there. Told to one who waits.
    failed: VecDeque<String>,
}

impl Stock {
    /// Of use at the moment.
    fn wanted(&self) -> usize {
        SOCKETS_AHEAD + self.waiting
    }
}

/// One that is being asked for. Dropped, it was not asked for.
struct Asking<'a>(&'a Inside);

impl<'a> Asking<'a> {
    /// None where enough are there or on their way.
    fn begin(inside: &'a Inside) -> Option<Self> {
        let mut stock = inside.lock();
        if stock.ready.len() + stock.asked >= stock.wanted() {
            return None;
        }
        stock.asked += 1;
        drop(stock);
        Some(Self(inside))
    }

    fn asked(self) {
        std::mem::forget(self);
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.lock().asked -= 1;
    }
}

/// One who waits, from its first look until it has a socket or gives up.
struct Waiting<'a>(&'a Inside);

impl<'a> Waiting<'a> {
    fn begin(inside: &'a Inside) -> Self {
        inside.lock().waiting += 1;
        Self(inside)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut stock = self.0.lock();
        stock.waiting -= 1;
        let waiting = stock.waiting;
        stock.failed.truncate(waiting);
        drop(stock);
        // What woke this one may have been for another.
        self.0.changed.notify_one();
    }
}

impl Inside {
    /// `commands` are what may be run in it.
    pub(crate) fn new(
        replica: ReplicaId,
        port: u16,
        protocol: AppProtocol,
        commands: Vec<Vec<String>>,
        outbox: Outbox,
    ) -> Arc<Self> {
        let (stock, changed, orders) = (Mutex::default(), Notify::new(), Orders::of(commands));
        Arc::new(Self { replica, port, protocol, outbox, stock, changed, orders })
    }

    /// Where requests go.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// What is spoken there.
    pub(crate) fn protocol(&self) -> AppProtocol {
        self.protocol
    }

    /// Connects to any port inside.
    pub(crate) async fn connect(&self, port: u16) -> io::Result<TcpStream> {
        let socket = self.socket().await?;
        self.connect_by(socket, port).await
    }

    /// The same with a socket that was taken before.
    pub(crate) async fn connect_by(&self, socket: OwnedFd, port: u16) -> io::Result<TcpStream> {
        let socket = TcpSocket::from_std_stream(socket.into());
        let stream = socket.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
        // Where nothing listens on a port that the kernel also gives to those who connect, one may meet itself.
        if stream.local_addr()? == stream.peer_addr()? {
            // Else the port would be taken for a minute from whom it is for.
            sockopt::set_socket_linger(&stream, Some(Duration::ZERO))?;
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        // What is written is a whole message or a part that somebody waits for.
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Has some made ahead: the replica is there now.
    pub(crate) async fn fill(&self) {
        while let Some(asking) = Asking::begin(self) {
            self.outbox.send(Request::Socket { replica: self.replica.clone(), kind: SocketKind::Network }).await;
            asking.asked();
        }
    }

    /// Runs one of its commands, as its process is run.
    pub(crate) async fn run(&self, command: &[String], timeout: Duration) -> Result<Report, OrderError> {
        self.orders.run(command, timeout, &self.replica, &self.outbox).await
    }

    /// A socket that was asked for is there.
    pub(crate) fn put(&self, kind: SocketKind, socket: OwnedFd) {
        match kind {
            SocketKind::Network => self.put_in_stock(socket),
            SocketKind::Orders => self.orders.deliver(Ok(socket)),
        }
    }

    fn put_in_stock(&self, socket: OwnedFd) {
        let mut stock = self.lock();
        stock.asked = stock.asked.saturating_sub(1);
        // Those who waited for the rest gave up.
        if stock.ready.len() < stock.wanted() {
            stock.ready.push_back(socket);
        }
        drop(stock);
        self.changed.notify_one();
    }

    /// One that was asked for will not come.
    pub(crate) fn fail(&self, kind: SocketKind, reason: String) {
        match kind {
            SocketKind::Network => self.fail_one_who_waits(reason),
            SocketKind::Orders => self.orders.deliver(Err(io::Error::other(reason))),
        }
    }

    fn fail_one_who_waits(&self, reason: String) {
        let mut stock = self.lock();
        stock.asked = stock.asked.saturating_sub(1);
        // For those who wait now, and for each of them once.
        if stock.failed.len() < stock.waiting {
            stock.failed.push_back(reason);
        }
        drop(stock);
        self.changed.notify_one();
    }

    /// One that is connected to nothing.
    pub(crate) async fn socket(&self) -> io::Result<OwnedFd> {
        let _waiting = Waiting::begin(self);
        self.fill().await;
        loop {
            let changed = self.changed.notified();
            if let Some(settled) = self.take() {
                return settled;
            }
            changed.await;
        }
    }

    /// None where it is still to come.
    fn take(&self) -> Option<io::Result<OwnedFd>> {
        let mut stock = self.lock();
        let failed = |reason| Err(io::Error::other(reason));
        stock.ready.pop_front().map(Ok).or_else(|| stock.failed.pop_front().map(failed))
    }

    fn lock(&self) -> MutexGuard<'_, Stock> {
        self.stock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
pub(crate) mod tests;

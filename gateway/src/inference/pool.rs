use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use dormouse_controller::Address;
use dormouse_sandbox::messages::ReplicaId;
use dormouse_spec::AppProtocol;
use tokio::{
    runtime::Handle,
    task::AbortHandle,
    time::{Instant, sleep_until},
};

use super::{connection::Connection, error::UnsentCause};

/// Connections kept open to one replica between requests.
const IDLE_CONNECTIONS_MAX: usize = 32;
/// Well below the 60 seconds after which a worker closes a connection that carried nothing. A request
/// sent on one that is being closed would be lost, and nobody could tell whether it was read.
const IDLE_MAX: Duration = Duration::from_secs(5);
/// The same for an image, of whose server nothing is known: common ones close after two seconds and more.
const IDLE_MAX_INSIDE: Duration = Duration::from_secs(1);

/// Idle connections to replicas. A replica's id is never another's later, so it is the key.
#[derive(Debug, Default)]
pub(super) struct Pool {
    shelf: Mutex<Shelf>,
}

#[derive(Debug, Default)]
struct Shelf {
    idle: HashMap<ReplicaId, Vec<Idle>>,
    /// Closes what is too old, as long as there is anything.
    tender: Option<Tender>,
}

#[derive(Debug)]
struct Tender {
    task: AbortHandle,
    /// When it looks next.
    wakes: Instant,
}

impl Shelf {
    /// Nobody is woken for what is not there.
    fn rest_if_empty(&mut self) {
        if self.idle.is_empty()
            && let Some(tender) = self.tender.take()
        {
            tender.task.abort();
        }
    }
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    /// When it is too old.
    until: Instant,
}

impl Pool {
    /// A connection on which nothing is under way.
    pub(super) async fn connect(
        self: &Arc<Self>,
        replica: &ReplicaId,
        address: &Address,
        protocol: AppProtocol,
    ) -> Result<Connection, UnsentCause> {
        while let Some(mut connection) = self.take(replica) {
            if connection.ready().await.is_ok() {
                return Ok(connection);
            }
        }
        self.connect_anew(replica, address, protocol).await
    }

    /// A connection that nobody used before.
    pub(super) async fn connect_anew(
        self: &Arc<Self>,
        replica: &ReplicaId,
        address: &Address,
        protocol: AppProtocol,
    ) -> Result<Connection, UnsentCause> {
        let stream = address.connect().await.map_err(UnsentCause::Connect)?;
        let (pool, of) = (Arc::clone(self), replica.clone());
        Connection::begin(stream, protocol, move || pool.sweep(&of)).await.map_err(UnsentCause::Handshake)
    }

    pub(super) fn put(self: &Arc<Self>, replica: &ReplicaId, address: &Address, connection: Connection) {
        self.keep(replica, connection, Instant::now() + idle_max(address));
    }

    fn keep(self: &Arc<Self>, replica: &ReplicaId, connection: Connection, until: Instant) {
        // Without a runtime the process is ending.
        let Ok(runtime) = Handle::try_current() else { return };
        let mut shelf = self.lock();
        // Looked at under the lock: one that closes after this is swept after this.
        if connection.is_closed() {
            return;
        }
        let connections = shelf.idle.entry(replica.clone()).or_default();
        if connections.len() < IDLE_CONNECTIONS_MAX {
            connections.push(Idle { connection, until });
        }
        // One that sleeps for longer than this may wait begins anew.
        if shelf.tender.as_ref().is_none_or(|tender| until < tender.wakes) {
            let task = runtime.spawn(Arc::clone(self).tend()).abort_handle();
            if let Some(former) = shelf.tender.replace(Tender { task, wakes: until }) {
                former.task.abort();
            }
        }
    }

    /// Closes what is too old, also where nobody asks for it any more: a frozen replica would keep it, and a server that
    /// serves one connection at a time waits on it.
    async fn tend(self: Arc<Self>) {
        while let Some(next) = self.close_old() {
            sleep_until(next).await;
        }
    }

    /// When the next one is too old.
    fn close_old(&self) -> Option<Instant> {
        let mut shelf = self.lock();
        let now = Instant::now();
        shelf.idle.retain(|_, connections| {
            connections.retain(|idle| idle.until > now);
            !connections.is_empty()
        });
        let next = shelf.idle.values().flatten().map(|idle| idle.until).min();
        match (next, &mut shelf.tender) {
            (Some(next), Some(tender)) => tender.wakes = next,
            (None, tender) => *tender = None,
            (Some(_), None) => {}
        }
        next
    }

    /// For a replica that is lost: connections to it may never tell.
    pub(super) fn forget(&self, replica: &ReplicaId) {
        let mut shelf = self.lock();
        let connections = shelf.idle.remove(replica);
        shelf.rest_if_empty();
        drop(shelf);
        drop(connections);
    }

    /// The connection used last. Where that is too old, so are all the others.
    fn take(&self, replica: &ReplicaId) -> Option<Connection> {
        let last = self.lock().idle.get_mut(replica)?.pop()?;
        (last.until > Instant::now()).then_some(last.connection)
    }

    /// Drops what was closed by the other side, as all connections are when a replica ends.
    fn sweep(&self, replica: &ReplicaId) {
        let mut shelf = self.lock();
        if let Some(connections) = shelf.idle.get_mut(replica) {
            connections.retain(|idle| !idle.connection.is_closed());
            if connections.is_empty() {
                shelf.idle.remove(replica);
                shelf.rest_if_empty();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn idle_max(address: &Address) -> Duration {
    match address {
        Address::Unix(_) => IDLE_MAX,
        Address::Inside(_) => IDLE_MAX_INSIDE,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use dormouse_controller::Stream;
    use tokio::{io::AsyncReadExt, net::UnixStream, time::timeout};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_nobody_asks_for_is_closed_in_time_and_then_nothing_wakes() {
        let pool = Arc::new(Pool::default());
        let address = Address::Unix("/nowhere".into());
        let mut others = Vec::new();
        let began = Instant::now();
        for number in 1..=3 {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let connection = Connection::begin(Stream::Unix(ours), AppProtocol::Http1, || {}).await.unwrap();
            pool.put(&ReplicaId::new(&"m".parse().unwrap(), 1, number), &address, connection);
            others.push(theirs);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        for other in &mut others {
            let read = timeout(IDLE_MAX * 2, other.read(&mut [0; 1])).await.unwrap();
            assert_eq!(read.unwrap(), 0, "closed");
        }
        assert!(began.elapsed() >= IDLE_MAX);
        let shelf = pool.lock();
        assert!(shelf.idle.is_empty() && shelf.tender.is_none(), "{shelf:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_may_be_kept_for_less_is_closed_before_one_that_came_first() {
        let pool = Arc::new(Pool::default());
        let mut others = Vec::new();
        let began = Instant::now();
        for (number, idle_max) in (1..).zip([IDLE_MAX, IDLE_MAX_INSIDE]) {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let connection = Connection::begin(Stream::Unix(ours), AppProtocol::Http1, || {}).await.unwrap();
            pool.keep(&ReplicaId::new(&"m".parse().unwrap(), 1, number), connection, began + idle_max);
            // The first is slept for.
            tokio::task::yield_now().await;
            others.push(theirs);
        }
        assert_eq!(others[1].read(&mut [0; 1]).await.unwrap(), 0, "closed");
        assert!(began.elapsed() < IDLE_MAX, "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_wakes_for_what_the_other_side_closed() {
        let (pool, replica) = (Arc::new(Pool::default()), ReplicaId::new(&"m".parse().unwrap(), 1, 1));
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (tell, told) = tokio::sync::oneshot::channel();
        let (swept, of) = (Arc::clone(&pool), replica.clone());
        let closed = move || {
            swept.sweep(&of);
            tell.send(()).unwrap();
        };
        let connection = Connection::begin(Stream::Unix(ours), AppProtocol::Http1, closed).await.unwrap();
        pool.put(&replica, &Address::Unix("/nowhere".into()), connection);
        assert!(pool.lock().tender.is_some());
        drop(theirs);
        told.await.unwrap();
        assert!(pool.lock().tender.is_none());
    }
}

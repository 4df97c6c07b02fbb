use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use dormouse_controller::Address;
use dormouse_sandbox::messages::ReplicaId;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::task::AbortHandle;

use super::{error::UnsentCause, replica_stream::ReplicaStream, request_body::RequestBody};

/// Connections kept open to one replica between requests.
const IDLE_CONNECTIONS_MAX: usize = 32;
/// Well below the 60 seconds after which a worker closes a connection that carried nothing. A request
/// sent on one that is being closed would be lost, and nobody could tell whether it was read.
const IDLE_MAX: Duration = Duration::from_secs(5);
/// The same for an image, of whose server nothing is known: common ones close after two seconds and more.
const IDLE_MAX_INSIDE: Duration = Duration::from_secs(1);
/// A replica is not trusted: the head of its answer has a limit like that of a client's request.
const REPLY_HEAD_BYTES_MAX: usize = 64 << 10;

/// Idle connections to replicas. A replica's id is never another's later, so it is the key.
#[derive(Debug, Default)]
pub(super) struct Pool {
    idle: Mutex<HashMap<ReplicaId, Vec<Idle>>>,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
}

/// A connection that carries one request at a time; closed when this is dropped.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) sender: SendRequest<RequestBody>,
    driver: AbortHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Also where a request is under way: the replica then learns that nobody waits for it.
        self.driver.abort();
    }
}

impl Pool {
    /// A connection on which nothing is under way.
    pub(super) async fn connect(
        self: &Arc<Self>,
        replica: &ReplicaId,
        address: &Address,
    ) -> Result<Connection, UnsentCause> {
        while let Some(mut connection) = self.take(replica, idle_max(address)) {
            if connection.sender.ready().await.is_ok() {
                return Ok(connection);
            }
        }
        let stream = address.connect().await.map_err(UnsentCause::Connect)?;
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(REPLY_HEAD_BYTES_MAX)
            .handshake(TokioIo::new(ReplicaStream::new(stream)))
            .await
            .map_err(UnsentCause::Handshake)?;
        let (pool, replica) = (Arc::clone(self), replica.clone());
        let driver = tokio::spawn(async move {
            // Its error is also that of the request under way, which tells it.
            let _ = connection.with_upgrades().await;
            pool.sweep(&replica);
        });
        Ok(Connection { sender, driver: driver.abort_handle() })
    }

    pub(super) fn put(&self, replica: &ReplicaId, connection: Connection) {
        let mut idle = self.lock();
        // Looked at under the lock: one that closes after this is swept after this.
        if connection.sender.is_closed() {
            return;
        }
        let connections = idle.entry(replica.clone()).or_default();
        if connections.len() < IDLE_CONNECTIONS_MAX {
            connections.push(Idle { connection, since: Instant::now() });
        }
    }

    /// For a replica that is lost: connections to it may never tell.
    pub(super) fn forget(&self, replica: &ReplicaId) {
        let connections = self.lock().remove(replica);
        drop(connections);
    }

    /// The connection used last. Where that is too old, so are all the others.
    fn take(&self, replica: &ReplicaId, idle_max: Duration) -> Option<Connection> {
        let mut idle = self.lock();
        let connections = idle.get_mut(replica)?;
        let last = connections.pop()?;
        if last.since.elapsed() < idle_max {
            return Some(last.connection);
        }
        connections.clear();
        None
    }

    /// Drops what was closed by the other side, as all connections are when a replica ends.
    fn sweep(&self, replica: &ReplicaId) {
        let mut idle = self.lock();
        if let Some(connections) = idle.get_mut(replica) {
            connections.retain(|idle| !idle.connection.sender.is_closed());
            if connections.is_empty() {
                idle.remove(replica);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ReplicaId, Vec<Idle>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn idle_max(address: &Address) -> Duration {
    match address {
        Address::Unix(_) => IDLE_MAX,
        Address::Inside(_) => IDLE_MAX_INSIDE,
    }
}

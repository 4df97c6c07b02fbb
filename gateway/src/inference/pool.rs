use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use dormouse_controller::Address;
use dormouse_sandbox::messages::ReplicaId;
use dormouse_spec::AppProtocol;

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
    idle: Mutex<HashMap<ReplicaId, Vec<Idle>>>,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
}

impl Pool {
    /// A connection on which nothing is under way.
    pub(super) async fn connect(
        self: &Arc<Self>,
        replica: &ReplicaId,
        address: &Address,
        protocol: AppProtocol,
    ) -> Result<Connection, UnsentCause> {
        while let Some(mut connection) = self.take(replica, idle_max(address)) {
            if connection.ready().await.is_ok() {
                return Ok(connection);
            }
        }
        let stream = address.connect().await.map_err(UnsentCause::Connect)?;
        let (pool, of) = (Arc::clone(self), replica.clone());
        Connection::begin(stream, protocol, move || pool.sweep(&of)).await.map_err(UnsentCause::Handshake)
    }

    pub(super) fn put(&self, replica: &ReplicaId, connection: Connection) {
        let mut idle = self.lock();
        // Looked at under the lock: one that closes after this is swept after this.
        if connection.is_closed() {
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
            connections.retain(|idle| !idle.connection.is_closed());
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

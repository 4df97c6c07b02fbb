use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::{net::UnixStream, task::AbortHandle};

use super::{error::UnsentCause, replica_stream::ReplicaStream, request_body::RequestBody};

/// Connections kept open to one replica between requests.
const IDLE_CONNECTIONS_MAX: usize = 32;
/// Well below the 60 seconds after which a worker closes a connection that carried nothing. A request
/// sent on one that is being closed would be lost, and nobody could tell whether it was read.
const IDLE_MAX: Duration = Duration::from_secs(5);
/// A replica is not trusted: the head of its answer has a limit like that of a client's request.
const REPLY_HEAD_BYTES_MAX: usize = 64 << 10;

/// Idle connections to replicas. A replica's socket is never another's later, so its path is its key.
#[derive(Debug, Default)]
pub(super) struct Pool {
    idle: Mutex<HashMap<PathBuf, Vec<Idle>>>,
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
    pub(super) async fn connect(self: &Arc<Self>, socket: &Path) -> Result<Connection, UnsentCause> {
        while let Some(mut connection) = self.take(socket) {
            if connection.sender.ready().await.is_ok() {
                return Ok(connection);
            }
        }
        let stream = UnixStream::connect(socket).await.map_err(UnsentCause::Connect)?;
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(REPLY_HEAD_BYTES_MAX)
            .handshake(TokioIo::new(ReplicaStream::new(stream)))
            .await
            .map_err(UnsentCause::Handshake)?;
        let (pool, socket) = (Arc::clone(self), socket.to_owned());
        let driver = tokio::spawn(async move {
            // Its error is also that of the request under way, which tells it.
            let _ = connection.await;
            pool.sweep(&socket);
        });
        Ok(Connection { sender, driver: driver.abort_handle() })
    }

    pub(super) fn put(&self, socket: &Path, connection: Connection) {
        let mut idle = self.lock();
        // Looked at under the lock: one that closes after this is swept after this.
        if connection.sender.is_closed() {
            return;
        }
        let connections = idle.entry(socket.to_owned()).or_default();
        if connections.len() < IDLE_CONNECTIONS_MAX {
            connections.push(Idle { connection, since: Instant::now() });
        }
    }

    /// For a replica that is lost: connections to it may never tell.
    pub(super) fn forget(&self, socket: &Path) {
        let connections = self.lock().remove(socket);
        drop(connections);
    }

    /// The connection used last. Where that is too old, so are all the others.
    fn take(&self, socket: &Path) -> Option<Connection> {
        let mut idle = self.lock();
        let connections = idle.get_mut(socket)?;
        let last = connections.pop()?;
        if last.since.elapsed() < IDLE_MAX {
            return Some(last.connection);
        }
        connections.clear();
        None
    }

    /// Drops what was closed by the other side, as all connections are when a replica ends.
    fn sweep(&self, socket: &Path) {
        let mut idle = self.lock();
        if let Some(connections) = idle.get_mut(socket) {
            connections.retain(|idle| !idle.connection.sender.is_closed());
            if connections.is_empty() {
                idle.remove(socket);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PathBuf, Vec<Idle>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! What replicas print: each into its own capped files, kept for a while after its end.

mod files;
mod lines;
mod query;
mod reader;
mod stamp;
mod writer;

use std::{
    collections::BTreeMap,
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use dormouse_sandbox::messages::ReplicaId;
use dormouse_spec::EndpointName;
use tokio::sync::{broadcast, mpsc, oneshot};

use files::LogFiles;
pub use query::{LogQuery, TAIL_LINES_MAX};
use stamp::Stamp;
use writer::{Ask, Writer};

/// Lines of an endpoint's logs, oldest first, each with the replica it came from.
pub type LogLines = mpsc::Receiver<String>;

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("there is no endpoint named `{0}`")]
    NotFound(String),
    #[error("reading the logs of `{endpoint}` failed")]
    Read {
        endpoint: String,
        #[source]
        source: std::io::Error,
    },
}

/// Lines that a follower may be behind; it is told how many it missed.
const FOLLOWER_LINES_MAX: usize = 1024;
/// Logs of dead replicas that one endpoint keeps; of more, the oldest go before their time.
const DEAD_LOGS_MAX: usize = 32;
/// Who speaks in lines that no replica printed.
const NODE: &str = "dormouse";

/// A line as it was written, numbered within its replica.
#[derive(Debug, Clone)]
struct Line {
    replica: ReplicaId,
    number: u64,
    read_at: Stamp,
    text: Arc<str>,
}

/// Where the lines of one endpoint go as they are written. The room for [`FOLLOWER_LINES_MAX`] of them is
/// made with the first follower: most endpoints never have one.
#[derive(Debug, Clone, Default)]
struct Followers(Arc<OnceLock<broadcast::Sender<Line>>>);

impl Followers {
    fn follow(&self) -> broadcast::Receiver<Line> {
        self.0.get_or_init(|| broadcast::Sender::new(FOLLOWER_LINES_MAX)).subscribe()
    }

    /// The line is written already, so that who follows from now on finds it in the file.
    fn send(&self, line: Line) {
        if let Some(sender) = self.0.get() {
            // An error means that nobody follows any more.
            let _ = sender.send(line);
        }
    }

    fn are_there(&self) -> bool {
        self.0.get().is_some_and(|sender| sender.receiver_count() > 0)
    }
}

/// The logs of all endpoints.
#[derive(Debug, Clone)]
pub(crate) struct Logs {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    directory: PathBuf,
    file_bytes_max: u64,
    kept_after_exit: Duration,
    /// Held for the moment of a look-up or change only, never while anything waits.
    endpoints: Mutex<BTreeMap<EndpointName, EndpointLogs>>,
}

#[derive(Debug)]
struct EndpointLogs {
    lines: Followers,
    /// In the order in which they began.
    replicas: Vec<ReplicaLog>,
}

#[derive(Debug)]
struct ReplicaLog {
    replica: ReplicaId,
    asks: mpsc::Sender<Ask>,
    has_ended: bool,
    /// Closes once its files are removed.
    removed: oneshot::Receiver<()>,
}

/// What the task that writes one log owns.
struct Writing {
    writer: Box<Writer>,
    asks: mpsc::Receiver<Ask>,
    /// Dropped with the task, when the files are no more.
    _removed: oneshot::Sender<()>,
}

impl Logs {
    pub(crate) fn new(directory: PathBuf, file_bytes_max: u64, kept_after_exit: Duration) -> Self {
        let shared = Shared { directory, file_bytes_max, kept_after_exit, endpoints: Mutex::default() };
        Self { shared: Arc::new(shared) }
    }

    /// Makes the directory, and keeps what replicas left that are not among `living` as if they had
    /// ended now: how long ago that was, only a clock could tell that people set.
    pub(crate) async fn prepare(&self, living: Vec<ReplicaId>) -> std::io::Result<()> {
        let directory = self.shared.directory.clone();
        let dead = blocking(move || files::find_dead(&directory, &living)).await?;
        for replica in dead {
            let Some(endpoint) = endpoint_of(&replica) else { continue };
            let writing = self.begin(&endpoint, &replica);
            tokio::spawn(self.clone().end(endpoint, replica, writing));
        }
        Ok(())
    }

    /// Copies what the replica prints until it ends, and removes that after a while.
    pub(crate) fn keep(&self, endpoint: &EndpointName, replica: &ReplicaId, pipe: OwnedFd) {
        let mut writing = self.begin(endpoint, replica);
        let (logs, endpoint, replica) = (self.clone(), endpoint.clone(), replica.clone());
        tokio::spawn(async move {
            writing.writer.copy(pipe, &mut writing.asks).await;
            // A task of its own: it is there long after, and takes less.
            tokio::spawn(logs.end(endpoint, replica, writing));
        });
    }

    /// Makes the replica's log one that readers find.
    fn begin(&self, endpoint: &EndpointName, replica: &ReplicaId) -> Writing {
        let (asks, inbox) = mpsc::channel(writer::ASKS_MAX);
        let (removing, removed) = oneshot::channel();
        let followers = self.with(|endpoints| {
            let logs = endpoints.entry(endpoint.clone()).or_insert_with(EndpointLogs::new);
            logs.replicas.push(ReplicaLog { replica: replica.clone(), asks, has_ended: false, removed });
            logs.lines.clone()
        });
        let files = LogFiles::new(&self.shared.directory, replica, self.shared.file_bytes_max);
        Writing { writer: Box::new(Writer::new(replica.clone(), files, followers)), asks: inbox, _removed: removing }
    }

    async fn end(self, endpoint: EndpointName, replica: ReplicaId, writing: Writing) {
        self.ended(&endpoint, &replica);
        writing.writer.linger(self.shared.kept_after_exit, writing.asks).await;
        self.forget(&endpoint, &replica);
    }

    /// Adds a line of the node's own to what a replica printed, where there is room for it at the moment.
    pub(crate) fn note(&self, endpoint: &EndpointName, replica: &ReplicaId, text: &str) {
        let ask = Ask::Note(format!("{NODE}: {text}"));
        self.with(|endpoints| {
            let logs = endpoints.get(endpoint).into_iter().flat_map(|logs| &logs.replicas);
            if let Some(log) = logs.into_iter().find(|log| log.replica == *replica) {
                let _ = log.asks.try_send(ask);
            }
        });
    }

    /// The endpoint's lines so far, and to come where they are followed.
    pub(crate) async fn read(&self, endpoint: &EndpointName, query: LogQuery) -> std::io::Result<LogLines> {
        let (following, asks) = self.with(|endpoints| {
            let logs = endpoints.entry(endpoint.clone()).or_insert_with(EndpointLogs::new);
            let asks = logs.replicas.iter().map(|log| (log.replica.clone(), log.asks.clone())).collect();
            (query.follow.then(|| logs.lines.follow()), asks)
        });
        reader::read(asks, following, query).await
    }

    /// Ends the logs of an endpoint that is no more, and waits until their files are removed.
    pub(crate) async fn remove(&self, endpoint: &EndpointName) {
        let Some(logs) = self.with(|endpoints| endpoints.remove(endpoint)) else { return };
        // A writer that nobody can ask any more removes its files as soon as its replica has ended.
        let removed: Vec<_> = logs.replicas.into_iter().map(|log| log.removed).collect();
        for removed in removed {
            let _ = removed.await;
        }
    }

    fn forget(&self, endpoint: &EndpointName, replica: &ReplicaId) {
        self.with(|endpoints| {
            let Some(logs) = endpoints.get_mut(endpoint) else { return };
            logs.replicas.retain(|log| log.replica != *replica);
            // The endpoint may be long gone: a next replica, or reader, makes this anew.
            if logs.replicas.is_empty() && !logs.lines.are_there() {
                endpoints.remove(endpoint);
            }
        });
    }

    /// Marks the log of a dead replica, and drops the oldest beyond what one endpoint keeps.
    fn ended(&self, endpoint: &EndpointName, replica: &ReplicaId) {
        self.with(|endpoints| {
            let Some(logs) = endpoints.get_mut(endpoint) else { return };
            logs.replicas.iter_mut().filter(|log| log.replica == *replica).for_each(|log| log.has_ended = true);
            let mut surplus = logs.replicas.iter().filter(|log| log.has_ended).count().saturating_sub(DEAD_LOGS_MAX);
            logs.replicas.retain(|log| {
                let goes = log.has_ended && surplus > 0;
                surplus -= usize::from(goes);
                !goes
            });
        });
    }

    fn with<T>(&self, change: impl FnOnce(&mut BTreeMap<EndpointName, EndpointLogs>) -> T) -> T {
        change(&mut self.shared.endpoints.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl EndpointLogs {
    fn new() -> Self {
        // Most have the one that a deploy asked.
        Self { lines: Followers::default(), replicas: Vec::with_capacity(1) }
    }
}

/// The endpoint in a replica's id, which ends in a revision and a serial number.
fn endpoint_of(replica: &ReplicaId) -> Option<EndpointName> {
    replica.as_str().rsplitn(3, '-').nth(2)?.parse().ok()
}

/// Runs file operations where they hold up nothing else.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> std::io::Result<T> + Send + 'static) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)?
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn an_endpoint_that_is_gone_is_forgotten_with_its_last_log() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("gone-1-1.log"), "last words\n").unwrap();
        let logs = Logs::new(directory.path().to_owned(), 1 << 20, Duration::ZERO);
        logs.prepare(Vec::new()).await.unwrap();
        let forgotten = async {
            while logs.with(|endpoints| !endpoints.is_empty()) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), forgotten).await.unwrap();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}

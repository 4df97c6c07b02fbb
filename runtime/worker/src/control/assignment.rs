//! What a worker is told to do, once, and what comes with it.

use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;

use serde::Deserialize;

use crate::source::{AssignedSource, ModelSource};

/// Most sources of one model: the best one, and what serves where that cannot be used.
const SOURCES_MAX: usize = 2;

/// What a worker does with its model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Answers inference requests.
    Serve,
    /// Optimises it, once, and hands the result out.
    Prepare,
}

/// What a worker is to do, and within which bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The endpoint's name, echoed in every reply.
    pub name: String,
    /// The revision, as the protocol's version string.
    pub version: String,
    pub work: Work,
    /// Threads that share one operator's work.
    pub intra_op_threads: NonZeroUsize,
    /// Limit of a body, on the wire and inflated, in bytes.
    pub body_bytes_max: usize,
    /// Most requests taken in at once.
    pub concurrency: NonZeroUsize,
}

/// An assignment with everything that came with it. Of sources, the best one is first, and there is at least one.
#[derive(Debug)]
pub(crate) enum Received {
    /// To this worker.
    Own { assignment: Assignment, listener: UnixListener, sources: Vec<ModelSource> },
    /// To servers that it is to fork. Their listeners come with the orders.
    OfServers { assignment: Assignment, sources: Vec<ModelSource> },
}

/// An assignment as it is sent.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    name: String,
    version: String,
    work: AssignedWork,
    /// The best one first.
    sources: Vec<AssignedSource>,
    intra_op_threads: NonZeroUsize,
    body_bytes_max: usize,
    concurrency: NonZeroUsize,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum AssignedWork {
    Serve,
    Template,
    Prepare,
}

/// Why an assignment is none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AssignmentError {
    #[error("no listener came with the assignment")]
    NoListener,
    #[error("the assignment carries {found} descriptors of models where {expected} are to be")]
    Descriptors { expected: usize, found: usize },
    #[error("the assignment names {0} sources of its model instead of 1 to {SOURCES_MAX}")]
    Sources(usize),
    #[error("the assignment is malformed")]
    Malformed(#[source] serde_json::Error),
}

impl Received {
    /// Reads the text and gives each descriptor its place.
    pub(super) fn read(text: &[u8], descriptors: Vec<OwnedFd>) -> Result<Self, AssignmentError> {
        let Message { name, version, work, sources, intra_op_threads, body_bytes_max, concurrency } =
            serde_json::from_slice(text).map_err(AssignmentError::Malformed)?;
        let mut descriptors = descriptors.into_iter();
        let mut listener = || Ok(descriptors.next().ok_or(AssignmentError::NoListener)?.into());
        let (work, listener): (_, Option<UnixListener>) = match work {
            AssignedWork::Serve => (Work::Serve, Some(listener()?)),
            AssignedWork::Prepare => (Work::Prepare, Some(listener()?)),
            AssignedWork::Template => (Work::Serve, None),
        };
        let sources = take(sources, descriptors)?;
        let assignment = Assignment { name, version, work, intra_op_threads, body_bytes_max, concurrency };
        Ok(match listener {
            Some(listener) => Self::Own { assignment, listener, sources },
            None => Self::OfServers { assignment, sources },
        })
    }
}

/// Joins sources and descriptors, of which there are to be exactly as many as needed.
fn take(
    sources: Vec<AssignedSource>,
    mut descriptors: std::vec::IntoIter<OwnedFd>,
) -> Result<Vec<ModelSource>, AssignmentError> {
    if sources.is_empty() || sources.len() > SOURCES_MAX {
        return Err(AssignmentError::Sources(sources.len()));
    }
    let expected = sources.iter().filter(|source| source.has_descriptor()).count();
    let miscounted = AssignmentError::Descriptors { expected, found: descriptors.len() };
    let taken: Option<Vec<_>> = sources.into_iter().map(|source| source.with(&mut descriptors)).collect();
    taken.filter(|_| descriptors.len() == 0).ok_or(miscounted)
}

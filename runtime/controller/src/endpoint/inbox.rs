use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::{Notify, oneshot};

use crate::{AcquireError, Lease, Preparation, revision::Revision};

/// Calls that wait for one endpoint's task; a request beyond them is refused as by a full queue.
pub(super) const CALLS_MAX: usize = 4096;

/// What is asked of an endpoint's task.
#[derive(Debug)]
pub(super) enum Call {
    Acquire { deadline: std::time::Instant, answer: oneshot::Sender<Result<Lease, AcquireError>> },
    Revise { revision: Box<Revision>, done: oneshot::Sender<()> },
    Failure { failure: String },
    Prepared { revision: u32, preparation: Preparation },
    Drain { until: tokio::time::Instant },
    Unleased { done: oneshot::Sender<()> },
}

/// What comes back without a message: leases, counted on their replicas, and callers who left.
/// Neither may wait for room in an inbox, so both are a mark and a wake-up.
#[derive(Debug)]
pub(crate) struct Returns {
    wake: Arc<Notify>,
    someone_left: AtomicBool,
}

impl Returns {
    pub(super) fn new(wake: Arc<Notify>) -> Self {
        Self { wake, someone_left: AtomicBool::new(false) }
    }

    pub(super) fn wake(&self) -> &Arc<Notify> {
        &self.wake
    }

    pub(super) fn take_someone_left(&self) -> bool {
        self.someone_left.swap(false, Ordering::AcqRel)
    }
}

/// A caller in the queue. Dropped before it was answered, it tells the task to look who left.
#[derive(Debug)]
pub(super) struct Waiting<'a> {
    returns: Option<&'a Returns>,
}

impl<'a> Waiting<'a> {
    pub(super) fn new(returns: &'a Returns) -> Self {
        Self { returns: Some(returns) }
    }

    pub(super) fn answered(mut self) {
        self.returns = None;
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(returns) = self.returns {
            returns.someone_left.store(true, Ordering::Release);
            returns.wake.notify_one();
        }
    }
}

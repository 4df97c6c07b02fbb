use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

use crate::{AcquireError, Lease, Preparation, policy::ExpectationId, revision::Revision};

/// Calls that wait for one endpoint's task; a request beyond them is refused as by a full queue.
pub(super) const CALLS_MAX: usize = 4096;

/// What is asked of an endpoint's task.
#[derive(Debug)]
pub(super) enum Call {
    /// `expectation` ends with it.
    Acquire {
        deadline: std::time::Instant,
        came: Instant,
        expectation: Option<ExpectationId>,
        answer: oneshot::Sender<Result<Lease, AcquireError>>,
    },
    Expect {
        expectation: ExpectationId,
        came: Instant,
        until: std::time::Instant,
        ended: Arc<AtomicBool>,
    },
    Revise {
        revision: Revision,
        done: oneshot::Sender<()>,
    },
    Failure {
        failure: String,
    },
    Prepared {
        revision: u32,
        preparation: Preparation,
    },
    Drain {
        until: tokio::time::Instant,
    },
    Unleased {
        done: oneshot::Sender<()>,
    },
}

/// What comes back without a message: leases, counted on their replicas, and callers who left, be it
/// from the queue or before they were in it. Neither may wait for room in an inbox, so both are a mark and a wake-up.
#[derive(Debug)]
pub(crate) struct Returns {
    wake: Arc<Notify>,
    someone_left: AtomicBool,
    expectations: AtomicU64,
}

impl Returns {
    pub(super) fn new(wake: Arc<Notify>) -> Self {
        Self { wake, someone_left: AtomicBool::new(false), expectations: AtomicU64::new(0) }
    }

    pub(super) fn wake(&self) -> &Arc<Notify> {
        &self.wake
    }

    pub(super) fn new_expectation(&self) -> ExpectationId {
        ExpectationId(self.expectations.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn someone_left(&self) {
        self.someone_left.store(true, Ordering::Release);
        self.wake.notify_one();
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
            returns.someone_left();
        }
    }
}

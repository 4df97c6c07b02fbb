//! One task per endpoint: it owns the endpoint's replicas, asks the policy what to do about each
//! event, and does it.
//!
//! Who waits for whom: callers wait for the task (or are refused at once), the task waits for the
//! ledger's and the spawner's inboxes while they are full, and those two wait for no task. So there
//! is no cycle in which all wait.

mod inbox;
mod members;
mod task;
mod view;
mod wakes;

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use dormouse_sandbox::messages::{ReplicaReport, ReplicaState, Work};
use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    time::Instant,
};

pub(crate) use inbox::Returns;
use inbox::{CALLS_MAX, Call, Waiting};

use crate::{
    AcquireError, EndpointView, Expectation, Lease, Phase, Preparation,
    link::{FactInbox, FactSender},
    memory::Account,
    node::Node,
    policy::AdoptedState,
    revision::Revision,
};

/// What a caller is told to wait where nothing better is known.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A handle on an endpoint's task.
#[derive(Debug, Clone)]
pub(crate) struct EndpointHandle {
    /// Each on the heap, as with [`FactSender`].
    calls: mpsc::Sender<Box<Call>>,
    returns: Arc<Returns>,
    view: watch::Receiver<Arc<EndpointView>>,
}

/// What the task of an endpoint is made of, besides what the whole node shares.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) revision: Revision,
    pub(crate) account: Account,
    pub(crate) facts: FactInbox,
    pub(crate) facts_sender: FactSender,
    /// Replicas that outlived the node process; their memory is in the account already.
    pub(crate) adopted: Vec<ReplicaReport>,
}

/// Starts the task.
pub(crate) fn start(node: Node, parts: Parts) -> EndpointHandle {
    let (calls, call_inbox) = mpsc::channel(CALLS_MAX);
    let returns = Arc::new(Returns::new(Arc::new(Notify::new())));
    let (task, view) = task::EndpointTask::new(node, parts, Arc::clone(&returns));
    tokio::spawn(Box::new(task).run(call_inbox));
    EndpointHandle { calls, returns, view }
}

impl EndpointHandle {
    pub(crate) fn view(&self) -> Arc<EndpointView> {
        Arc::clone(&self.view.borrow())
    }

    /// See [`crate::Controller::acquire`].
    pub(crate) async fn acquire(&self, deadline: std::time::Instant) -> Result<Lease, AcquireError> {
        let (answer, answered) = oneshot::channel();
        self.call(Call::Acquire { deadline, came: Instant::now(), expectation: None, answer })?;
        self.granted(answered).await
    }

    /// See [`crate::Controller::acquire_expected`].
    pub(crate) async fn acquire_expected(
        &self,
        deadline: std::time::Instant,
        expectation: Expectation,
    ) -> Result<Lease, AcquireError> {
        let (answer, answered) = oneshot::channel();
        let id = Some(expectation.id());
        self.call(Call::Acquire { deadline, came: Instant::now(), expectation: id, answer })?;
        expectation.handed_over();
        self.granted(answered).await
    }

    /// See [`crate::Controller::expect`].
    pub(crate) fn expect(&self, until: std::time::Instant) -> Option<Expectation> {
        if self.view.borrow().replicas.iter().any(|replica| replica.phase == Phase::Ready) {
            return None;
        }
        let id = self.returns.new_expectation();
        let ended = Arc::new(AtomicBool::new(false));
        let call = Call::Expect { expectation: id, came: Instant::now(), until, ended: Arc::clone(&ended) };
        // What is only on its way is no reason to fail: the request itself is told what is wrong.
        self.call(call).ok()?;
        Some(Expectation::new(self.clone(), id, ended, Arc::clone(&self.returns)))
    }

    /// Whether it is of the same task.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.calls.same_channel(&other.calls)
    }

    fn call(&self, call: Call) -> Result<(), AcquireError> {
        self.calls.try_send(Box::new(call)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => AcquireError::QueueFull {
                waiters: u32::try_from(CALLS_MAX).unwrap_or(u32::MAX),
                retry_after: RETRY_AFTER,
            },
            mpsc::error::TrySendError::Closed(_) => AcquireError::Draining { retry_after: RETRY_AFTER },
        })
    }

    async fn granted(&self, answered: oneshot::Receiver<Result<Lease, AcquireError>>) -> Result<Lease, AcquireError> {
        let waiting = Waiting::new(&self.returns);
        let answer = answered.await;
        waiting.answered();
        answer.unwrap_or(Err(AcquireError::Draining { retry_after: RETRY_AFTER }))
    }

    /// Moves the traffic to another revision; returns once no request gets the old one any more.
    pub(crate) async fn revise(&self, revision: Revision) {
        let (done, is_done) = oneshot::channel();
        if self.calls.send(Box::new(Call::Revise { revision, done })).await.is_ok() {
            let _ = is_done.await;
        }
    }

    /// New replicas of this revision start from what was prepared; those that run stay as they are.
    pub(crate) async fn prepared(&self, revision: u32, preparation: Preparation) {
        let _ = self.calls.send(Box::new(Call::Prepared { revision, preparation })).await;
    }

    /// Tells what went wrong with a deploy, for `status`.
    pub(crate) async fn note_failure(&self, failure: String) {
        let _ = self.calls.send(Box::new(Call::Failure { failure })).await;
    }

    /// Takes no more requests and stops replicas as their leases return, the last at `until`.
    pub(crate) async fn drain(&self, until: Instant) {
        let _ = self.calls.send(Box::new(Call::Drain { until })).await;
    }

    /// Waits until no lease is held.
    pub(crate) async fn unleased(&self) {
        let (done, is_done) = oneshot::channel();
        if self.calls.send(Box::new(Call::Unleased { done })).await.is_ok() {
            let _ = is_done.await;
        }
    }

    /// Waits until nothing of an earlier revision's replicas is left.
    pub(crate) async fn moved_to(&self, revision: u32) {
        let mut view = self.view.clone();
        let is_moved = |view: &Arc<EndpointView>| view.replicas.iter().all(|replica| replica.revision >= revision);
        // An error means that the endpoint is gone, and all its replicas with it.
        let _ = view.wait_for(is_moved).await;
    }

    /// Waits until it is drained and nothing of its replicas is left.
    pub(crate) async fn over(&self) {
        let mut view = self.view.clone();
        while view.changed().await.is_ok() {}
    }
}

/// How a replica or a template that outlived the node process stands to what is to run.
pub(crate) fn adopted_state(revision: &Revision, node: &Node, report: &ReplicaReport) -> AdoptedState {
    let mut wanted = node.replica_spec(revision, report.spec.replica.clone());
    // From what it started is no reason to end it.
    if let Some(work @ (Work::Serve { .. } | Work::Template { .. } | Work::Fork { .. })) = report.spec.work() {
        wanted = wanted.with_work(work.clone());
    }
    match report.state {
        ReplicaState::Stopping => AdoptedState::Stopping,
        _ if wanted != report.spec || wanted.replica.revision() != revision.number => AdoptedState::Outdated,
        ReplicaState::Starting => AdoptedState::Loading,
        ReplicaState::Ready => AdoptedState::Ready,
        ReplicaState::Frozen => AdoptedState::Frozen,
    }
}

//! A confined replica that does one thing for a deploy, and ends.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use dormouse_sandbox::messages::{Event, ExitCause, Payload, ReplicaId, Request};
use dormouse_spec::{Bytes, Limits};
use tokio::{
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, timeout, timeout_at},
};

use crate::{
    Inside,
    link::{Fact, FactInbox, MemoryFact, fact_inbox},
    memory::Account,
    node::Node,
    policy::{Owner, Usage},
    probe::ProbeFailure,
    readiness::until_ready,
    revision::Revision,
};

/// One that is done has nothing to finish.
const STOP_GRACE_MS: u32 = 1_000;

/// A connection breaks a moment before the spawner tells why.
const DEATH_TOLD_WITHIN: Duration = Duration::from_secs(1);

/// How a job comes to its memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// In turn; idle replicas of others end for it.
    InTurn,
    /// Of what is free at this moment: nobody's replica ends for it.
    Free,
}

/// What a replica is started for.
#[derive(Debug)]
pub(crate) struct Job<'a> {
    pub(crate) node: &'a Node,
    pub(crate) revision: &'a Revision,
    pub(crate) payload: Payload,
    pub(crate) limits: Limits,
    pub(crate) claim: Claim,
    /// From when it is asked for until it is done.
    pub(crate) deadline: Duration,
}

/// Why asking a replica failed.
pub(crate) trait AskError: std::error::Error + 'static {
    /// Whether the end of the replica would look the same.
    fn may_be_death(&self) -> bool;
}

/// Why a job was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JobError<E: AskError> {
    #[error("{needs} of memory are needed for it, the node's budget is {budget}")]
    NeverFits { needs: Bytes, budget: Bytes },
    #[error("{short} of memory are short: other replicas hold it")]
    Memory { short: Bytes },
    #[error("it was not ready within {} s", longest.as_secs())]
    NotReady {
        longest: Duration,
        /// The last that was seen of it, where it is looked at.
        saw: Option<String>,
    },
    #[error("it was not done within {} s", .0.as_secs())]
    NotDone(Duration),
    #[error("{reason}")]
    LoadFailed { reason: String },
    #[error("creating a replica failed: {reason}")]
    NotCreated { reason: String },
    #[error("the replica that was to do it ended: {0}")]
    Died(ExitCause),
    #[error("the spawner is gone")]
    SpawnerGone,
    #[error(transparent)]
    Asked(E),
}

/// The end of a job's replica, which may come after the job's.
#[derive(Debug)]
pub(crate) struct Buried(JoinHandle<()>);

impl Buried {
    /// Waits until nothing of the replica is left and its memory is given back, but no longer than this.
    pub(crate) async fn wait(self, longest: Duration) {
        let _ = timeout(longest, self.0).await;
    }
}

struct Running<'a> {
    job: &'a Job<'a>,
    replica: ReplicaId,
    facts: FactInbox,
}

impl Job<'_> {
    /// Starts the replica and, once it is ready, has `ask` deal with it over its socket.
    pub(crate) async fn run<T, E: AskError>(
        &self,
        ask: impl AsyncFnOnce(PathBuf) -> Result<T, E>,
    ) -> (Result<T, JobError<E>>, Option<Buried>) {
        let deadline = Instant::now() + self.deadline;
        let (sender, facts) = fact_inbox();
        let replica = self.node.new_id(&self.revision.endpoint.name, self.revision.number);
        let account = self.node.memory.open(Owner::Probe(replica.clone()), 1, sender.clone()).await;
        match self.claim {
            Claim::InTurn => account.reserve(replica.clone(), self.limits.memory).await,
            Claim::Free => account.reserve_free(replica.clone(), self.limits.memory, Usage::Starting).await,
        }
        let mut running = Running { job: self, replica: replica.clone(), facts };
        if let Err(error) = running.wait_for_memory(deadline).await {
            account.release(replica).await;
            account.close().await;
            return (Err(error), None);
        }
        let spec = self.node.replica_spec_for(self.revision, replica.clone(), self.payload.clone(), self.limits);
        self.node.outbox.create(spec, sender).await;
        let done = running.ask(ask, deadline).await;
        self.node.outbox.send(Request::Stop { replica: replica.clone(), grace_ms: STOP_GRACE_MS }).await;
        (done, Some(Buried(tokio::spawn(bury(replica, running.facts, account)))))
    }
}

/// Gives the memory back once nothing of the replica is left.
async fn bury(replica: ReplicaId, mut facts: FactInbox, account: Account) {
    while let Some(fact) = facts.recv().await {
        if let Fact::Spawner(Event::Removed { .. }, _) = fact {
            break;
        }
    }
    account.release(replica).await;
    account.close().await;
}

impl Running<'_> {
    async fn wait_for_memory<E: AskError>(&mut self, deadline: Instant) -> Result<(), JobError<E>> {
        let mut short = self.job.limits.memory;
        loop {
            match timeout_at(deadline, self.facts.recv()).await {
                Ok(Some(Fact::Memory(MemoryFact::Granted(_)))) => return Ok(()),
                Ok(Some(Fact::Memory(MemoryFact::Short(_, bytes)))) if self.job.claim == Claim::Free => {
                    return Err(JobError::Memory { short: bytes });
                }
                Ok(Some(Fact::Memory(MemoryFact::Short(_, bytes)))) => short = bytes,
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return Err(JobError::Memory { short }),
            }
        }
    }

    /// Waits until the replica serves and asks it, unless it dies before.
    async fn ask<T, E: AskError>(
        &mut self,
        ask: impl AsyncFnOnce(PathBuf) -> Result<T, E>,
        deadline: Instant,
    ) -> Result<T, JobError<E>> {
        let longest = self.job.deadline;
        self.ready_by(deadline).await?;
        let socket = self.job.node.socket(&self.replica);
        tokio::select! {
            done = timeout_at(deadline, ask(socket)) => match done {
                Ok(Ok(done)) => Ok(done),
                Ok(Err(error)) => {
                    if error.may_be_death()
                        && let Ok(death) = timeout(DEATH_TOLD_WITHIN, wait_for_death(&mut self.facts)).await
                    {
                        return Err(death);
                    }
                    Err(JobError::Asked(error))
                }
                Err(_) => Err(JobError::NotDone(longest)),
            },
            error = wait_for_death(&mut self.facts) => Err(error),
        }
    }

    async fn ready_by<E: AskError>(&mut self, deadline: Instant) -> Result<(), JobError<E>> {
        let image = self.job.revision.image().cloned();
        let address = self.job.node.address(self.job.revision, &self.replica);
        let Some((inside, image)) = address.inside().zip(image) else {
            let late = |_| JobError::NotReady { longest: self.job.deadline, saw: None };
            return timeout_at(deadline, self.wait_for_ready(None)).await.map_err(late)?;
        };
        let saw = Mutex::new(None);
        let note = |seen: &ProbeFailure| *saw.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen.to_string());
        let (created, is_created) = oneshot::channel();
        let looking = async {
            // An error means that it is not to be looked at any more.
            if is_created.await.is_ok() {
                until_ready(Arc::clone(inside), &image.startup, note).await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        let outcome = tokio::select! {
            () = looking => Some(Ok(())),
            ended = timeout_at(deadline, self.wait_for_ready(Some((inside, created)))) => ended.ok(),
        };
        outcome.unwrap_or_else(|| {
            let saw = saw.into_inner().unwrap_or_else(PoisonError::into_inner);
            Err(JobError::NotReady { longest: self.job.deadline, saw })
        })
    }

    /// With `looked_at` it is somebody else who sees that it is ready.
    async fn wait_for_ready<E: AskError>(
        &mut self,
        looked_at: Option<(&Arc<Inside>, oneshot::Sender<()>)>,
    ) -> Result<(), JobError<E>> {
        let (inside, mut created) = looked_at.map(|(inside, created)| (inside, Some(created))).unzip();
        loop {
            match self.facts.recv().await {
                Some(Fact::Spawner(Event::Ready { .. }, _)) => return Ok(()),
                Some(Fact::Spawner(Event::Created { origin, .. }, log)) => {
                    self.job.node.metrics.container(origin);
                    if let Some(log) = log {
                        self.job.node.logs.keep(&self.job.revision.endpoint.name, &self.replica, log);
                    }
                    if let Some(created) = created.as_mut().and_then(Option::take) {
                        let _ = created.send(());
                    }
                }
                Some(Fact::Spawner(Event::Socket { kind, .. }, Some(socket))) => {
                    if let Some(inside) = inside {
                        inside.put(kind, socket);
                    }
                }
                Some(Fact::Spawner(Event::NoSocket { kind, reason, .. }, _)) => {
                    if let Some(inside) = inside {
                        inside.fail(kind, reason);
                    }
                }
                Some(fact) => end(fact).map_or(Ok(()), Err)?,
                None => return Err(JobError::SpawnerGone),
            }
        }
    }
}

async fn wait_for_death<E: AskError>(facts: &mut FactInbox) -> JobError<E> {
    while let Some(fact) = facts.recv().await {
        if let Some(error) = end(fact) {
            return error;
        }
    }
    JobError::SpawnerGone
}

/// What a fact that ends the replica says of the job.
fn end<E: AskError>(fact: Fact) -> Option<JobError<E>> {
    let Fact::Spawner(event, _) = fact else { return None };
    match event {
        Event::LoadFailed { reason, .. } => Some(JobError::LoadFailed { reason }),
        Event::Exited { cause: ExitCause::NotCreated { reason }, .. } | Event::Refused { reason, .. } => {
            Some(JobError::NotCreated { reason })
        }
        Event::Exited { cause, .. } => Some(JobError::Died(cause)),
        _ => None,
    }
}

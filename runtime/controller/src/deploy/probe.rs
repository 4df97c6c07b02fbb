//! One confined replica of the new revision loads the model, describes it, and ends. So a model
//! that cannot be served is refused before anything changes.

use dormouse_sandbox::messages::{Event, ExitCause, ReplicaId, Request};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};

use super::{DeployError, signature::signature};
use crate::{
    link::{Fact, MemoryFact, fact_inbox},
    memory::Account,
    node::Node,
    policy::Owner,
    revision::Revision,
};

/// A probe that is done has nothing to finish.
const PROBE_STOP_GRACE_MS: u32 = 1_000;

struct Probe<'a> {
    node: &'a Node,
    revision: &'a Revision,
    replica: ReplicaId,
    facts: mpsc::Receiver<Fact>,
}

/// Returns the metadata that a replica of this revision answers.
pub(super) async fn probe(node: &Node, revision: &Revision) -> Result<serde_json::Value, DeployError> {
    let (sender, facts) = fact_inbox();
    let name = &revision.endpoint.name;
    let replica = node.new_id(name, revision.number);
    let account = node.memory.open(Owner::Probe(replica.clone()), 1, sender.clone()).await;
    account.reserve(replica.clone(), revision.endpoint.limits.memory).await;
    let mut probe = Probe { node, revision, replica, facts };
    let is_held = probe.wait_for_memory().await;
    let Probe { replica, .. } = &probe;
    if let Err(error) = is_held {
        account.release(replica.clone()).await;
        account.close().await;
        return Err(error);
    }
    node.outbox.create(node.replica_spec(revision, replica.clone()), sender).await;
    let metadata = probe.ask().await;
    let Probe { replica, facts, .. } = probe;
    node.outbox.send(Request::Stop { replica: replica.clone(), grace_ms: PROBE_STOP_GRACE_MS }).await;
    tokio::spawn(bury(replica, facts, account));
    metadata
}

/// Gives the memory back once nothing of the replica is left.
async fn bury(replica: ReplicaId, mut facts: mpsc::Receiver<Fact>, account: Account) {
    while let Some(fact) = facts.recv().await {
        if let Fact::Spawner(Event::Removed { .. }, _) = fact {
            break;
        }
    }
    account.release(replica).await;
    account.close().await;
}

impl Probe<'_> {
    async fn wait_for_memory(&mut self) -> Result<(), DeployError> {
        let deadline = Instant::now() + self.revision.endpoint.start_deadline;
        let mut short = None;
        loop {
            match timeout_at(deadline, self.facts.recv()).await {
                Ok(Some(Fact::Memory(MemoryFact::Granted(_)))) => return Ok(()),
                Ok(Some(Fact::Memory(MemoryFact::Short(_, bytes)))) => short = Some(bytes),
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => {
                    let short = short.unwrap_or(self.revision.endpoint.limits.memory);
                    return Err(failed(format!("waiting for memory ({short} is short)"), "other replicas hold it"));
                }
            }
        }
    }

    /// Waits until the replica serves and asks it, unless it dies before.
    async fn ask(&mut self) -> Result<serde_json::Value, DeployError> {
        let deadline = Instant::now() + self.revision.endpoint.start_deadline;
        match timeout_at(deadline, self.wait_for_ready()).await {
            Ok(ready) => ready?,
            Err(_) => return Err(model("it was not loaded within the start deadline")),
        }
        let socket = self.node.socket(&self.replica);
        let name = &self.revision.endpoint.name;
        tokio::select! {
            metadata = signature(&socket, name) => {
                metadata.map_err(|error| failed("asking the new replica".to_owned(), error))
            }
            error = wait_for_death(&mut self.facts) => Err(error),
        }
    }

    async fn wait_for_ready(&mut self) -> Result<(), DeployError> {
        loop {
            match self.facts.recv().await {
                Some(Fact::Spawner(Event::Ready { .. }, _)) => return Ok(()),
                Some(Fact::Spawner(Event::Created { origin, .. }, log)) => {
                    self.node.metrics.container(origin);
                    if let Some(log) = log {
                        self.node.logs.keep(&self.revision.endpoint.name, &self.replica, log);
                    }
                }
                Some(fact) => end(fact).map_or(Ok(()), Err)?,
                None => return Err(failed("starting a replica".to_owned(), "the spawner is gone")),
            }
        }
    }
}

async fn wait_for_death(facts: &mut mpsc::Receiver<Fact>) -> DeployError {
    while let Some(fact) = facts.recv().await {
        if let Some(error) = end(fact) {
            return error;
        }
    }
    failed("starting a replica".to_owned(), "the spawner is gone")
}

/// What a fact that ends the probe says of the deploy.
fn end(fact: Fact) -> Option<DeployError> {
    let Fact::Spawner(event, _) = fact else { return None };
    match event {
        Event::LoadFailed { reason, .. } => Some(model(&reason)),
        Event::Exited { cause: ExitCause::NotCreated { reason }, .. } | Event::Refused { reason, .. } => {
            Some(failed("creating a replica".to_owned(), reason))
        }
        Event::Exited { cause, .. } => Some(model(&format!("the replica that was to load it ended: {cause}"))),
        _ => None,
    }
}

fn model(reason: &str) -> DeployError {
    DeployError::Model { reason: reason.to_owned() }
}

fn failed(operation: String, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> DeployError {
    DeployError::Failed { operation, source: source.into() }
}

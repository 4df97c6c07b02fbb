//! One confined replica of the new revision is started, and ends. So what cannot be served is refused before
//! anything changes.

use std::{convert::Infallible, path::PathBuf};

use super::{DeployError, signature::signature};
use crate::{
    Metadata,
    job::{AskError, Buried, Claim, Job, JobError},
    node::Node,
    revision::Revision,
};

/// Returns the metadata that a replica of this revision answers.
pub(super) async fn probe_model(node: &Node, revision: &Revision) -> Result<(Metadata, Option<Buried>), DeployError> {
    let name = &revision.endpoint.name;
    let (metadata, buried) = job(node, revision).run(async |socket: PathBuf| signature(&socket, name).await).await;
    let metadata = metadata.map_err(|error| match error {
        JobError::NotReady { .. } => {
            DeployError::Model { reason: "it was not loaded within the start deadline".to_owned() }
        }
        JobError::LoadFailed { reason } => DeployError::Model { reason },
        JobError::Died(cause) => {
            DeployError::Model { reason: format!("the replica that was to load it ended: {cause}") }
        }
        JobError::Asked(error) => failed("asking the new replica", error),
        error => of_the_node(error),
    });
    Ok((Metadata::from(metadata?), buried))
}

impl AskError for Infallible {
    fn may_be_death(&self) -> bool {
        match *self {}
    }
}

/// Waits until a replica of this revision takes requests.
pub(super) async fn probe_image(node: &Node, revision: &Revision) -> Result<(), DeployError> {
    let (ready, _) = job(node, revision).run(async |_| Ok::<_, Infallible>(())).await;
    ready.map_err(|error| match error {
        JobError::NotReady { longest, saw } => DeployError::Image {
            reason: format!(
                "its first replica took no requests within {} s{}",
                longest.as_secs(),
                saw.map_or_else(String::new, |saw| format!(": {saw}"))
            ),
        },
        JobError::LoadFailed { reason } => DeployError::Image { reason },
        JobError::Died(cause) => DeployError::Image {
            reason: format!("its first replica ended before it took requests: {cause}; its output is in the logs"),
        },
        JobError::NotCreated { reason } => DeployError::Image { reason },
        error => of_the_node(error),
    })
}

fn job<'a>(node: &'a Node, revision: &'a Revision) -> Job<'a> {
    Job {
        node,
        revision,
        payload: revision.serving(node.settings.body_bytes_max),
        limits: revision.endpoint.limits,
        claim: Claim::InTurn,
        deadline: revision.endpoint.start_deadline,
    }
}

/// What is not the fault of what is deployed.
fn of_the_node<E: AskError>(error: JobError<E>) -> DeployError {
    match error {
        JobError::NeverFits { needs, budget } => DeployError::NeverFits { needs, budget },
        JobError::Memory { short } => {
            failed(&format!("waiting for memory ({short} is short)"), "other replicas hold it")
        }
        JobError::NotCreated { reason } => failed("creating a replica", reason),
        JobError::SpawnerGone => failed("starting a replica", "the spawner is gone"),
        JobError::NotDone(_) => failed("asking the new replica", "it did not answer within the start deadline"),
        error => failed("starting a replica", crate::error_chain::one_line(&error)),
    }
}

fn failed(operation: &str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> DeployError {
    DeployError::Failed { operation: operation.to_owned(), source: source.into() }
}

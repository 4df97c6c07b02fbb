//! One confined replica of the new revision loads the model, describes it, and ends. So a model
//! that cannot be served is refused before anything changes.

use std::path::PathBuf;

use super::{
    DeployError,
    signature::{SignatureError, signature},
};
use crate::{
    Metadata,
    job::{Buried, Claim, Job, JobError},
    node::Node,
    revision::Revision,
};

/// Returns the metadata that a replica of this revision answers.
pub(super) async fn probe(node: &Node, revision: &Revision) -> Result<(Metadata, Option<Buried>), DeployError> {
    let job = Job {
        node,
        revision,
        work: revision.work(),
        limits: revision.endpoint.limits,
        claim: Claim::InTurn,
        deadline: revision.endpoint.start_deadline,
    };
    let name = &revision.endpoint.name;
    let (metadata, buried) = job.run(async |socket: PathBuf| signature(&socket, name).await).await;
    Ok((Metadata::from(metadata?), buried))
}

impl From<JobError<SignatureError>> for DeployError {
    fn from(error: JobError<SignatureError>) -> Self {
        use JobError as E;
        let failed = |operation: &str, source: Box<dyn std::error::Error + Send + Sync>| Self::Failed {
            operation: operation.to_owned(),
            source,
        };
        match error {
            E::NeverFits { needs, budget } => Self::NeverFits { needs, budget },
            E::Memory { short } => {
                failed(&format!("waiting for memory ({short} is short)"), "other replicas hold it".into())
            }
            E::NotLoaded(_) => Self::Model { reason: "it was not loaded within the start deadline".to_owned() },
            E::LoadFailed { reason } => Self::Model { reason },
            E::Died(cause) => Self::Model { reason: format!("the replica that was to load it ended: {cause}") },
            E::NotCreated { reason } => failed("creating a replica", reason.into()),
            E::SpawnerGone => failed("starting a replica", "the spawner is gone".into()),
            E::Asked(error) => failed("asking the new replica", error.into()),
            E::NotDone(_) => failed("asking the new replica", "it did not answer within the start deadline".into()),
        }
    }
}

//! Preparing models: each is optimised once, by a confined replica of its own, and kept under a key
//! of everything it depends on. Where that cannot be, the model itself serves, and why is told.

mod background;
mod flights;
mod key;
mod order;
mod sample;

use std::{path::PathBuf, sync::Arc};

use dormouse_image::{PreparedModel, PreparedStore, Verified};
use dormouse_sandbox::messages::Work;
use dormouse_spec::{Bytes, Digest, Limits};
use serde::{Deserialize, Serialize};

pub(crate) use background::prepare_missing;
pub use sample::SAMPLE_BYTES_MAX;
pub(crate) use sample::Sample;

use self::{
    flights::Flights,
    key::Keys,
    order::{Order, OrderError},
};
use crate::{
    error_chain::one_line,
    job::{Buried, Claim, Job, JobError},
    metrics,
    node::Node,
    revision::{ModelContent, Revision},
};

/// A preparation loads the model, saves it, loads the result and asks both: it may take as long as
/// so many starts.
const STARTS: u32 = 4;
/// What ONNX Runtime takes besides the model, in a replica that prepares.
const OVERHEAD: Bytes = Bytes::from_mebibytes(256);
/// Beside twice the model, what the file of an optimised one may have.
const FILE_OVERHEAD: Bytes = Bytes::from_mebibytes(16);
/// Why an endpoint of an earlier start has none yet.
const NOT_YET: &str = "it has not been prepared on this machine yet";

/// What an endpoint's replicas start from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Preparation {
    /// A prepared model, the original where that cannot be used.
    Prepared { key: Digest, verified: Verified },
    /// The model as it was deployed.
    Original { reason: String },
}

impl Preparation {
    pub(crate) fn not_yet() -> Self {
        Self::Original { reason: NOT_YET.to_owned() }
    }

    pub(crate) fn key(&self) -> Option<Digest> {
        match self {
            Self::Prepared { key, .. } => Some(*key),
            Self::Original { .. } => None,
        }
    }
}

/// A preparation that is in the store, which keeps it while this value lives.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) preparation: Preparation,
    pub(crate) _held: Option<PreparedModel>,
}

impl Outcome {
    fn prepared(key: Digest, held: PreparedModel) -> Self {
        let verified = held.record.verified;
        Self { preparation: Preparation::Prepared { key, verified }, _held: Some(held) }
    }

    fn original(reason: impl Into<String>) -> Self {
        Self { preparation: Preparation::Original { reason: reason.into() }, _held: None }
    }
}

/// The prepared models of a node, and the way to more of them.
#[derive(Debug, Clone)]
pub(crate) struct Preparations {
    store: PreparedStore,
    /// Without them nothing can be prepared, for the reason there is instead.
    keys: Arc<Result<Keys, String>>,
    flights: Flights,
}

impl Preparations {
    /// `library` is the ONNX Runtime of this node; without it models are not prepared.
    pub(crate) fn new(store: PreparedStore, library: Option<Digest>) -> Self {
        let keys = match library.as_ref().map(Keys::of_this_machine) {
            Some(Ok(keys)) => Ok(keys),
            Some(Err(error)) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "models are not prepared");
                Err(format!("what the processors can do is not known: {error}"))
            }
            None => Err("`prepare_models` is off in [node]".to_owned()),
        };
        Self { store, keys: Arc::new(keys), flights: Flights::default() }
    }

    pub(crate) fn store(&self) -> &PreparedStore {
        &self.store
    }

    /// What is there for this revision already, verified on the sample where there is one.
    pub(crate) async fn find(&self, revision: &Revision, sample: Option<&Sample>) -> Option<Outcome> {
        let key = self.key((revision, revision.model()?)).ok()?;
        let held = self.store.find(key).await?;
        let is_wanted = sample.is_none_or(|sample| held.record.sample == Some(sample.digest()));
        is_wanted.then(|| Outcome::prepared(key, held))
    }

    /// Why nothing is prepared on this node, where that is so.
    pub(crate) fn refusal(&self) -> Option<Preparation> {
        let reason = self.keys.as_ref().as_ref().err()?;
        Some(Preparation::Original { reason: reason.clone() })
    }

    /// Prepares the model of a revision, which can be served as it is. `before` is what still holds
    /// memory of the same deploy.
    ///
    /// # Errors
    /// Where the sample is none of this model. Everything else is an outcome.
    pub(crate) async fn prepare(
        &self,
        node: &Node,
        (revision, model): (&Revision, &ModelContent),
        sample: Option<&Sample>,
        before: Option<Buried>,
    ) -> Result<Outcome, String> {
        let key = match self.key((revision, model)) {
            Ok(key) => key,
            Err(reason) => return Ok(Outcome::original(reason)),
        };
        let _turn = self.flights.turn(key).await;
        if let Some(there) = self.find(revision, sample).await {
            return Ok(there);
        }
        let order = Order { endpoint: &revision.endpoint.name, model: model.model, sample, key };
        match self.place(node, (revision, model), &order, before).await {
            Ok(held) => {
                node.metrics.preparation(metrics::Outcome::Ok);
                Ok(Outcome::prepared(key, held))
            }
            Err(JobError::Asked(OrderError::Sample { reason })) => Err(format!("the sample cannot be used: {reason}")),
            Err(error) => {
                node.metrics.preparation(metrics::Outcome::Failed);
                let reason = one_line(&error);
                tracing::warn!(endpoint = %revision.endpoint.name, reason, "a model was not prepared");
                Ok(Outcome::original(reason))
            }
        }
    }

    async fn place(
        &self,
        node: &Node,
        (revision, model): (&Revision, &ModelContent),
        order: &Order<'_>,
        before: Option<Buried>,
    ) -> Result<PreparedModel, JobError<OrderError>> {
        let limits = limits(revision, model);
        if limits.memory > node.settings.memory_budget {
            return Err(JobError::NeverFits { needs: limits.memory, budget: node.settings.memory_budget });
        }
        let job = |claim| Job {
            node,
            revision,
            payload: revision.worker(model, Work::Prepare {}, node.settings.body_bytes_max),
            limits,
            claim,
            deadline: revision.endpoint.start_deadline * STARTS,
        };
        let ask = async |socket: PathBuf| order.place(&socket, &self.store).await;
        let first = job(Claim::Free).run(ask).await.0;
        match (first, before) {
            (Err(JobError::Memory { .. }), Some(before)) => {
                before.wait(revision.endpoint.start_deadline).await;
                job(Claim::Free).run(ask).await.0
            }
            (first, _) => first,
        }
    }

    fn key(&self, (revision, model): (&Revision, &ModelContent)) -> Result<Digest, String> {
        let keys = self.keys.as_ref().as_ref().map_err(Clone::clone)?;
        Ok(keys.key(&model.model, revision.endpoint.intra_op_threads))
    }
}

/// The optimised model is in /tmp, which counts as memory, beside what a session takes of the one and
/// then of the other.
fn limits(revision: &Revision, model: &ModelContent) -> Limits {
    let twice = Bytes::new(model.bytes.get().saturating_mul(2));
    let tmp = twice.saturating_add(FILE_OVERHEAD);
    let replica = revision.endpoint.limits;
    let memory = replica.memory.max(twice.saturating_add(OVERHEAD)).saturating_add(tmp);
    Limits { memory, tmp, ..replica }
}

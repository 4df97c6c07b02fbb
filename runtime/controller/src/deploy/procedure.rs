use std::{os::fd::OwnedFd, sync::Arc};

use dormouse_image::{ModelStore, StoreError as ModelStoreError, StoredModel};
use dormouse_sandbox::messages::Request;
use dormouse_spec::{Bytes, Endpoint};
use tokio::sync::Mutex;

use super::{DeployError, DeployProgress, DeployRequest, DeployStep, Deployed, ModelFile, probe::probe};
use crate::{
    EndpointView, Metadata,
    directory::{Claim, ClaimError, Directory, Entry},
    endpoint::{self, EndpointHandle, Parts},
    error_chain::one_line,
    link::fact_inbox,
    node::Node,
    policy::Owner,
    preparation::{Outcome, Preparation, Preparations, Sample},
    revision::Revision,
    store::{Desired, Store},
};

/// What a deploy brings besides what it says.
struct Brought {
    files: Vec<ModelFile>,
    sample: Option<OwnedFd>,
}

/// What deploys and deletes work with.
#[derive(Debug, Clone)]
pub(crate) struct Deploys {
    pub(crate) node: Node,
    pub(crate) directory: Directory,
    pub(crate) store: Store,
    pub(crate) models: ModelStore,
    pub(crate) preparations: Preparations,
    /// Held from writing a revision down until the directory shows it, and while unreachable models
    /// are deleted: a model committed in between would be taken for unreachable.
    pub(crate) commit: Arc<Mutex<()>>,
}

impl Deploys {
    /// Claims the endpoint and checks what can be checked without the model.
    pub(crate) fn begin(&self, request: &DeployRequest) -> Result<Claim, DeployError> {
        let name = &request.endpoint.name;
        let provisional = self.resolve(request, Bytes::new(0))?;
        let claim = self.directory.claim(name, request.endpoint.alias.as_ref()).map_err(|error| match error {
            ClaimError::Busy(name) => DeployError::Busy(name),
            taken @ ClaimError::Taken { .. } => DeployError::Invalid(taken.to_string()),
        })?;
        if !matches!(claim.entry(), Some(Entry::Served(_))) {
            let view = Arc::new(EndpointView::unserved(Arc::new(provisional), None));
            claim.set(Entry::Unserved(view), request.endpoint.alias.as_ref());
        }
        Ok(claim)
    }

    /// The whole procedure. What served before serves on if it fails.
    pub(crate) async fn run(
        &self,
        claim: Claim,
        mut request: DeployRequest,
        progress: DeployProgress,
    ) -> Result<Deployed, DeployError> {
        let brought = Brought { files: std::mem::take(&mut request.files), sample: request.sample.take() };
        let deployed = self.store_probe_commit(&claim, &request, brought, &progress).await;
        if let Err(error) = &deployed {
            let failure = format!("the deploy failed: {}", one_line(error));
            tracing::warn!(endpoint = %claim.name(), failure);
            self.note_failure(&claim, &request, failure).await;
            if claim.entry().and_then(Entry::served).is_none() {
                // The probe got the endpoint a host uid; nothing else of it is kept.
                self.node.outbox.send(Request::Forget { endpoint: claim.name().clone() }).await;
            }
        }
        drop(claim);
        collect_garbage(self).await;
        deployed
    }

    async fn store_probe_commit(
        &self,
        claim: &Claim,
        request: &DeployRequest,
        brought: Brought,
        progress: &DeployProgress,
    ) -> Result<Deployed, DeployError> {
        let served = claim.entry().and_then(Entry::served);
        let sample = read_sample(brought.sample).await?;
        let model = self.store_model(brought.files, progress).await?;
        let endpoint = self.resolve(request, model.bytes)?;
        self.check_fits(&endpoint)?;
        let number = served.as_ref().map_or(0, |handle| handle.view().revision).saturating_add(1);
        let mut revision = Revision {
            number,
            endpoint: Arc::new(endpoint),
            model: model.digest,
            model_bytes: model.bytes,
            preparation: Preparation::not_yet(),
            metadata: Metadata::default(),
        };
        let held = self.probe_and_prepare(&mut revision, sample.as_ref(), progress).await?;
        let _ = progress.send(DeployStep::Committing).await;
        self.commit(claim, request, revision.clone(), sample, served).await?;
        // Until here they were pinned: from here on the directory names them.
        drop((model, held));
        let Revision { endpoint, model, model_bytes, preparation, .. } = revision;
        Ok(Deployed { name: endpoint.name.clone(), revision: number, model, model_bytes, preparation })
    }

    /// Completes the revision. A model that was prepared before is probed as it will start.
    async fn probe_and_prepare(
        &self,
        revision: &mut Revision,
        sample: Option<&Sample>,
        progress: &DeployProgress,
    ) -> Result<Option<Outcome>, DeployError> {
        let there = self.preparations.find(revision, sample).await;
        let settled = there.as_ref().map(|outcome| outcome.preparation.clone()).or_else(|| self.preparations.refusal());
        let is_settled = settled.is_some();
        revision.preparation = settled.unwrap_or_else(Preparation::not_yet);
        // Whoever does not listen any more does not stop the deploy.
        let _ = progress.send(DeployStep::Probing).await;
        let (metadata, probed) = probe(&self.node, revision).await?;
        revision.metadata = metadata;
        if is_settled {
            return Ok(there);
        }
        let _ = progress.send(DeployStep::Preparing).await;
        let prepared = self.preparations.prepare(&self.node, revision, sample, probed).await;
        let outcome = prepared.map_err(DeployError::Invalid)?;
        revision.preparation = outcome.preparation.clone();
        Ok(Some(outcome))
    }

    async fn store_model(&self, files: Vec<ModelFile>, progress: &DeployProgress) -> Result<StoredModel, DeployError> {
        let files = files.into_iter().map(|ModelFile { path, file }| {
            let path = path.parse().map_err(|error: dormouse_image::RelativePathError| invalid(&error))?;
            Ok(dormouse_image::ModelFile { path, file })
        });
        let files = files.collect::<Result<Vec<_>, DeployError>>()?;
        let progress = progress.clone();
        let told = move |done: Bytes, total: Bytes| {
            // Told again with the next chunk where the listener is behind.
            let _ = progress.try_send(DeployStep::Storing { bytes_done: done.get(), bytes_total: total.get() });
        };
        self.models.add(files, told).await.map_err(|error: ModelStoreError| {
            if error.is_invalid_input() { invalid(&error) } else { failed("storing the model", error) }
        })
    }

    fn resolve(&self, request: &DeployRequest, model: Bytes) -> Result<Endpoint, DeployError> {
        let settings = &self.node.settings;
        request.endpoint.resolve(&settings.defaults, model, settings.node_cpus).map_err(|error| invalid(&error))
    }

    fn check_fits(&self, endpoint: &Endpoint) -> Result<(), DeployError> {
        let (needs, budget) = (endpoint.limits.memory, self.node.settings.memory_budget);
        if needs > budget {
            return Err(DeployError::NeverFits { needs, budget });
        }
        if needs.get().saturating_mul(endpoint.min_replicas.into()) > budget.get() {
            let min = endpoint.min_replicas;
            return Err(DeployError::Invalid(format!(
                "minReplicas {min} of {needs} of memory each never fit the node's budget of {budget}"
            )));
        }
        Ok(())
    }

    async fn commit(
        &self,
        claim: &Claim,
        request: &DeployRequest,
        revision: Revision,
        sample: Option<Sample>,
        served: Option<EndpointHandle>,
    ) -> Result<(), DeployError> {
        let _committing = self.commit.lock().await;
        let Revision { number, model, model_bytes, metadata, preparation, .. } = revision.clone();
        let desired = Desired::new(request.endpoint.clone(), number, model, model_bytes, metadata)
            .with_preparation(preparation, sample.map(Sample::into_text));
        self.store.write(&desired).await.map_err(|error| failed("writing desired state", error))?;
        let handle = match served {
            Some(handle) => {
                handle.revise(revision).await;
                handle
            }
            None => self.start(revision).await,
        };
        claim.set(Entry::Served(handle), request.endpoint.alias.as_ref());
        Ok(())
    }

    async fn start(&self, revision: Revision) -> EndpointHandle {
        let (facts_sender, facts) = fact_inbox();
        let (name, floor) = (revision.endpoint.name.clone(), revision.endpoint.min_replicas);
        let account = self.node.memory.open(Owner::Endpoint(name), floor, facts_sender.clone()).await;
        endpoint::start(self.node.clone(), Parts { revision, account, facts, facts_sender, adopted: Vec::new() })
    }

    async fn note_failure(&self, claim: &Claim, request: &DeployRequest, failure: String) {
        match claim.entry() {
            Some(Entry::Served(handle)) => handle.note_failure(failure).await,
            Some(Entry::Unserved(view)) => {
                let view = Arc::new(EndpointView::unserved(view.endpoint.clone(), Some(failure)));
                claim.set(Entry::Unserved(view), request.endpoint.alias.as_ref());
            }
            None => {}
        }
    }
}

/// Deletes models that no endpoint has any more, by what serves and by what is written down. A
/// failure costs disk space only.
pub(crate) async fn collect_garbage(deploys: &Deploys) {
    let _committing = deploys.commit.lock().await;
    let mut needed = match deploys.store.models().await {
        Ok(models) => models,
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "no model is deleted: which of them are needed cannot be read");
            return;
        }
    };
    needed.extend(deploys.directory.stored());
    for collected in [
        deploys.models.collect_garbage(needed.clone()).await,
        deploys.preparations.store().collect_garbage(needed).await,
    ] {
        if let Err(error) = collected {
            tracing::warn!(error = &error as &dyn std::error::Error, "models that nobody needs were not deleted");
        }
    }
}

fn invalid(error: &dyn std::error::Error) -> DeployError {
    DeployError::Invalid(one_line(error))
}

fn failed(operation: &str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> DeployError {
    DeployError::Failed { operation: operation.to_owned(), source: source.into() }
}

async fn read_sample(file: Option<OwnedFd>) -> Result<Option<Sample>, DeployError> {
    let Some(file) = file else { return Ok(None) };
    let read = tokio::task::spawn_blocking(move || Sample::read(file)).await;
    read.map_err(|error| failed("reading the sample", error))?.map(Some).map_err(|error| invalid(&error))
}

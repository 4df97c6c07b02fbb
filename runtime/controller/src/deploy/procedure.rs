use std::sync::Arc;

use dormouse_image::{ModelStore, StoreError as ModelStoreError, StoredModel};
use dormouse_sandbox::messages::Request;
use dormouse_spec::{Bytes, Endpoint};
use tokio::sync::Mutex;

use super::{DeployError, DeployProgress, DeployRequest, DeployStep, Deployed, ModelFile, probe::probe};
use crate::{
    EndpointView,
    directory::{Claim, ClaimError, Directory, Entry},
    endpoint::{self, EndpointHandle, Parts},
    link::fact_inbox,
    node::Node,
    policy::Owner,
    revision::Revision,
    store::{Desired, Store},
};

/// What deploys and deletes work with.
#[derive(Debug, Clone)]
pub(crate) struct Deploys {
    pub(crate) node: Node,
    pub(crate) directory: Directory,
    pub(crate) store: Store,
    pub(crate) models: ModelStore,
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
            let view = Arc::new(EndpointView::unserved(provisional, None));
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
        let files = std::mem::take(&mut request.files);
        let deployed = self.store_probe_commit(&claim, &request, files, &progress).await;
        if let Err(error) = &deployed {
            let failure = format!("the deploy failed: {}", chain(error));
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
        files: Vec<ModelFile>,
        progress: &DeployProgress,
    ) -> Result<Deployed, DeployError> {
        let served = claim.entry().and_then(Entry::served);
        let model = self.store_model(files, progress).await?;
        let endpoint = self.resolve(request, model.bytes)?;
        self.check_fits(&endpoint)?;
        let number = served.as_ref().map_or(0, |handle| handle.view().revision).saturating_add(1);
        let mut revision = Revision {
            number,
            endpoint,
            model: model.digest,
            model_bytes: model.bytes,
            metadata: serde_json::Value::Null,
        };
        // Whoever does not listen any more does not stop the deploy.
        let _ = progress.send(DeployStep::Probing).await;
        revision.metadata = probe(&self.node, &revision).await?;
        let _ = progress.send(DeployStep::Committing).await;
        self.commit(claim, request, revision.clone(), served).await?;
        // Until here it was pinned: from here on the directory names it.
        drop(model);
        let Revision { endpoint, model, model_bytes, .. } = revision;
        Ok(Deployed { name: endpoint.name, revision: number, model, model_bytes })
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
        served: Option<EndpointHandle>,
    ) -> Result<(), DeployError> {
        let _committing = self.commit.lock().await;
        let Revision { number, model, model_bytes, metadata, .. } = revision.clone();
        let desired = Desired::new(request.endpoint.clone(), number, model, model_bytes, metadata);
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
    needed.extend(deploys.directory.models());
    if let Err(error) = deploys.models.collect_garbage(needed).await {
        tracing::warn!(error = &error as &dyn std::error::Error, "models that nobody needs were not deleted");
    }
}

fn invalid(error: &dyn std::error::Error) -> DeployError {
    DeployError::Invalid(chain(error))
}

fn failed(operation: &str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> DeployError {
    DeployError::Failed { operation: operation.to_owned(), source: source.into() }
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

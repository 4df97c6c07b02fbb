use std::{os::fd::OwnedFd, sync::Arc};

use dormouse_image::{ModelStore, StoredBlob};
use dormouse_sandbox::messages::Request;
use dormouse_spec::{Bytes, Container, Endpoint, EndpointRequest};
use tokio::sync::Mutex;

use super::{
    DeployError, DeployProgress, DeployRequest, DeployStep, Deployed, ModelFile,
    model::{self, read_sample},
    probe::probe_image,
};
use crate::{
    EndpointView, Images,
    configs::ConfigStore,
    directory::{Claim, ClaimError, Directory, Entry},
    endpoint::{self, EndpointHandle, Parts},
    error_chain::one_line,
    link::fact_inbox,
    node::Node,
    policy::Owner,
    preparation::{Preparations, Sample},
    revision::{Content, ImageContent, ModelContent, Revision},
    store::{Desired, DesiredContent, DesiredModel, Store},
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
    pub(crate) images: Images,
    pub(crate) configs: ConfigStore,
    /// Held from writing a revision down until the directory shows it, and while unreachable models
    /// are deleted: a model committed in between would be taken for unreachable.
    pub(crate) commit: Arc<Mutex<()>>,
}

impl Deploys {
    /// Claims the endpoint and checks what can be checked without the model.
    pub(crate) fn begin(&self, request: &DeployRequest) -> Result<Claim, DeployError> {
        let name = &request.endpoint.name;
        let provisional = self.resolve(&request.endpoint, Bytes::new(0))?;
        let claim = self.directory.claim(name, request.endpoint.alias.as_ref()).map_err(|error| match error {
            ClaimError::Busy(name) => DeployError::Busy(name),
            taken @ ClaimError::Taken { .. } => DeployError::Invalid(taken.to_string()),
        })?;
        if !matches!(claim.entry(), Some(Entry::Served(_))) {
            let view =
                Arc::new(EndpointView::unserved(Arc::new(provisional), request.endpoint.container.is_some(), None));
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
        match &request.endpoint.container {
            None => self.deploy_model(claim, request, brought, progress).await,
            Some(_) if !brought.files.is_empty() || brought.sample.is_some() => {
                Err(DeployError::Invalid("an image has no model files and no sample".to_owned()))
            }
            Some(container) => self.deploy_image(claim, request, container, progress).await,
        }
    }

    async fn deploy_model(
        &self,
        claim: &Claim,
        request: &DeployRequest,
        brought: Brought,
        progress: &DeployProgress,
    ) -> Result<Deployed, DeployError> {
        let sample = read_sample(brought.sample).await?;
        let model = self.store_model(brought.files, progress).await?;
        let endpoint = self.resolve(&request.endpoint, model.bytes)?;
        self.check_fits(&endpoint)?;
        let (number, content) = (next_number(claim), model::unprobed(&model));
        let mut revision = Revision { number, endpoint: Arc::new(endpoint), content };
        let held = self.probe_and_prepare(&mut revision, sample.as_ref(), progress).await?;
        let deployed = self.commit(claim, request, revision, sample, progress).await;
        // Until here they were pinned: from here on the directory names them.
        drop((model, held));
        deployed
    }

    async fn deploy_image(
        &self,
        claim: &Claim,
        request: &DeployRequest,
        container: &Container,
        progress: &DeployProgress,
    ) -> Result<Deployed, DeployError> {
        let held = self.images.hold(&container.image).await?;
        let unusable = |error| DeployError::Image { reason: one_line(&error) };
        let pinned = held.pin(container.contract).map_err(unusable)?;
        let mut filled = request.endpoint.clone();
        pinned.contract.fill(&mut filled);
        let endpoint = self.resolve(&filled, Bytes::new(0))?;
        self.check_fits(&endpoint)?;
        let number = next_number(claim);
        let image = ImageContent::new(&endpoint, number, container, pinned, &self.configs).map_err(unusable)?;
        let revision = Revision { number, endpoint: Arc::new(endpoint), content: Content::Image(Arc::new(image)) };
        // Whoever does not listen any more does not stop the deploy.
        let _ = progress.send(DeployStep::Probing).await;
        probe_image(&self.node, &revision).await?;
        let deployed = self.commit(claim, request, revision, None, progress).await;
        // Until here nothing was collected: from here on it is written down.
        drop(held);
        deployed
    }

    fn resolve(&self, request: &EndpointRequest, model: Bytes) -> Result<Endpoint, DeployError> {
        let settings = &self.node.settings;
        request.resolve(&settings.defaults, model, settings.node_cpus).map_err(|error| invalid(&error))
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
        progress: &DeployProgress,
    ) -> Result<Deployed, DeployError> {
        let _ = progress.send(DeployStep::Committing).await;
        let _committing = self.commit.lock().await;
        let before = claim.entry().and_then(Entry::served).and_then(|handle| handle.view().image.clone());
        let kept = match before {
            Some(image) => self.images.note_use(image.manifest).await,
            None => None,
        };
        let desired = Desired {
            request: request.endpoint.clone(),
            revision: revision.number,
            content: desired_content(&revision.content, sample),
        };
        self.store.write(&desired).await.map_err(|error| failed("writing desired state", error))?;
        let deployed = Deployed::of(&revision);
        let handle = match claim.entry().and_then(Entry::served) {
            Some(handle) => {
                let ran_an_image = handle.view().is_image;
                let number = revision.number;
                handle.revise(revision).await;
                if ran_an_image {
                    tokio::spawn(collect_when_moved(self.images.clone(), handle.clone(), number, kept));
                }
                handle
            }
            None => self.start(revision).await,
        };
        claim.set(Entry::Served(handle), request.endpoint.alias.as_ref());
        Ok(deployed)
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
                let view = Arc::new(EndpointView::unserved(view.endpoint.clone(), view.is_image, Some(failure)));
                claim.set(Entry::Unserved(view), request.endpoint.alias.as_ref());
            }
            None => {}
        }
    }
}

/// Layers that only the revision before needs can go with its last replica, and not before; nor can its image, which is
/// kept until then.
async fn collect_when_moved(images: Images, handle: EndpointHandle, number: u32, kept: Option<StoredBlob>) {
    handle.moved_to(number).await;
    drop(kept);
    images.collect_garbage().await;
}

fn next_number(claim: &Claim) -> u32 {
    let served = claim.entry().and_then(Entry::served);
    served.map_or(0, |handle| handle.view().revision).saturating_add(1)
}

fn desired_content(content: &Content, sample: Option<Sample>) -> DesiredContent {
    match content {
        Content::Image(image) => DesiredContent::Image(Box::new(image.image.clone())),
        Content::Model(ModelContent { model, bytes, preparation, metadata }) => {
            DesiredContent::Model(Box::new(DesiredModel {
                model: *model,
                bytes: *bytes,
                metadata: metadata.clone(),
                preparation: Some(preparation.clone()),
                sample: sample.map(Sample::into_text),
            }))
        }
    }
}

/// Deletes models that no endpoint has any more, by what serves and by what is written down. A
/// failure costs disk space only.
pub(crate) async fn collect_garbage(deploys: &Deploys) {
    let _committing = deploys.commit.lock().await;
    let mut needed = match deploys.store.digests().await {
        Ok(digests) => digests,
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

pub(super) fn invalid(error: &dyn std::error::Error) -> DeployError {
    DeployError::Invalid(one_line(error))
}

pub(super) fn failed(operation: &str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> DeployError {
    DeployError::Failed { operation: operation.to_owned(), source: source.into() }
}

//! A deploy of a model: stored, probed, prepared.

use std::os::fd::OwnedFd;

use dormouse_image::{StoreError as ModelStoreError, StoredModel};
use dormouse_spec::Bytes;

use super::{
    DeployError, DeployProgress, DeployStep, ModelFile,
    probe::probe_model,
    procedure::{Deploys, failed, invalid},
};
use crate::{
    Metadata,
    preparation::{Outcome, Preparation, Sample},
    revision::{Content, ModelContent, Revision},
};

impl Deploys {
    /// Completes the revision. A model that was prepared before is probed as it will start.
    pub(super) async fn probe_and_prepare(
        &self,
        revision: &mut Revision,
        sample: Option<&Sample>,
        progress: &DeployProgress,
    ) -> Result<Option<Outcome>, DeployError> {
        let there = self.preparations.find(revision, sample).await;
        let settled = there.as_ref().map(|outcome| outcome.preparation.clone()).or_else(|| self.preparations.refusal());
        let is_settled = settled.is_some();
        let Content::Model(model) = &mut revision.content else { return Ok(None) };
        model.preparation = settled.unwrap_or_else(Preparation::not_yet);
        // Whoever does not listen any more does not stop the deploy.
        let _ = progress.send(DeployStep::Probing).await;
        let (metadata, probed) = probe_model(&self.node, revision).await?;
        let Content::Model(model) = &mut revision.content else { return Ok(None) };
        model.metadata = metadata;
        if is_settled {
            return Ok(there);
        }
        let _ = progress.send(DeployStep::Preparing).await;
        let model = model.clone();
        let prepared = self.preparations.prepare(&self.node, (revision, &model), sample, probed).await;
        let outcome = prepared.map_err(DeployError::Invalid)?;
        revision.content = Content::Model(ModelContent { preparation: outcome.preparation.clone(), ..model });
        Ok(Some(outcome))
    }

    pub(super) async fn store_model(
        &self,
        files: Vec<ModelFile>,
        progress: &DeployProgress,
    ) -> Result<StoredModel, DeployError> {
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
}

/// What a model that was stored is before anybody looked into it.
pub(super) fn unprobed(model: &StoredModel) -> Content {
    Content::Model(ModelContent {
        model: model.digest,
        bytes: model.bytes,
        preparation: Preparation::not_yet(),
        metadata: Metadata::default(),
    })
}

pub(super) async fn read_sample(file: Option<OwnedFd>) -> Result<Option<Sample>, DeployError> {
    let Some(file) = file else { return Ok(None) };
    let read = tokio::task::spawn_blocking(move || Sample::read(file)).await;
    read.map_err(|error| failed("reading the sample", error))?.map(Some).map_err(|error| invalid(&error))
}

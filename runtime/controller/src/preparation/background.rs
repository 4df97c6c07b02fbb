//! Preparing again what an upgrade, another processor or a failure left unprepared, one after the
//! other, while the originals serve.

use dormouse_spec::EndpointName;

use super::{Preparation, Sample};
use crate::{
    deploy::{Deploys, collect_garbage},
    directory::Entry,
    revision::Revision,
    store::Desired,
};

/// Prepares these revisions. Each is given to new replicas only; those that run stay as they are.
pub(crate) async fn prepare_missing(deploys: Deploys, missing: Vec<Revision>) {
    for revision in missing {
        let name = revision.endpoint.name.clone();
        if !is_served(&deploys, &revision) {
            continue;
        }
        let Some(model) = revision.model() else { continue };
        let kept = deploys.store.read(&name).await.ok().and_then(|desired| desired.model()?.sample.clone());
        let sample = kept.map(Sample::kept);
        let outcome = deploys.preparations.prepare(&deploys.node, (&revision, model), sample.as_ref(), None).await;
        let preparation = match &outcome {
            Ok(outcome) => outcome.preparation.clone(),
            Err(reason) => Preparation::Original { reason: reason.clone() },
        };
        settle(&deploys, &revision, preparation).await;
        drop(outcome);
        collect_garbage(&deploys).await;
    }
}

fn is_served(deploys: &Deploys, revision: &Revision) -> bool {
    let served = deploys.directory.find(revision.endpoint.name.as_str()).and_then(Entry::served);
    served.is_some_and(|handle| {
        let view = handle.view();
        view.revision == revision.number && view.model == revision.model().map(|model| model.model)
    })
}

/// Writes it down and tells the endpoint. Where somebody deploys or deletes it at this moment, theirs
/// is the word. Why there is none is not written down: the next start tries again.
async fn settle(deploys: &Deploys, revision: &Revision, preparation: Preparation) {
    let name: &EndpointName = &revision.endpoint.name;
    let Ok(claim) = deploys.directory.claim(name, revision.endpoint.alias.as_ref()) else { return };
    let _committing = deploys.commit.lock().await;
    if !is_served(deploys, revision) {
        return;
    }
    if preparation.key().is_some()
        && let Err(error) = deploys.store.change(name, |desired| note(desired, &preparation)).await
    {
        let error = &error as &dyn std::error::Error;
        tracing::warn!(endpoint = %name, error, "a prepared model is not used: desired state cannot be written");
        return;
    }
    if let Some(Entry::Served(handle)) = claim.entry() {
        handle.prepared(revision.number, preparation).await;
    }
}

fn note(desired: &mut Desired, preparation: &Preparation) {
    if let Some(model) = desired.model_mut() {
        model.preparation = Some(preparation.clone());
    }
}

use std::time::Duration;

use dormouse_sandbox::messages::Request;
use dormouse_spec::EndpointName;
use tokio::time::{Instant, timeout, timeout_at};

use crate::{
    DeleteError,
    deploy::{Deploys, collect_garbage},
    directory::{Claim, ClaimError, Entry},
};

/// After the drain deadline, how long the kernel may take to end and remove the last replicas, and
/// as long once more for their logs.
const REMOVAL_WAIT: Duration = Duration::from_secs(60);

pub(super) fn begin(deploys: &Deploys, name: &EndpointName) -> Result<Claim, DeleteError> {
    let claim = deploys.directory.claim(name, None).map_err(|error| match error {
        ClaimError::Busy(name) => DeleteError::Busy(name),
        // The name is only an alias of another.
        ClaimError::Taken { .. } => DeleteError::NotFound(name.clone()),
    })?;
    if claim.entry().is_some() { Ok(claim) } else { Err(DeleteError::NotFound(name.clone())) }
}

/// Desired state goes first: whatever happens afterwards, the endpoint does not come back.
pub(super) async fn run(deploys: &Deploys, claim: Claim) -> Result<(), DeleteError> {
    let name = claim.name().clone();
    let image = claim.entry().and_then(Entry::served).and_then(|handle| handle.view().image.clone());
    // Until its last replica has ended, although it is written down no more.
    let kept = match image {
        Some(image) => deploys.images.note_use(image.manifest).await,
        None => None,
    };
    deploys.store.remove(&name).await.map_err(|error| failed("removing desired state", error))?;
    if let Some(Entry::Served(handle)) = claim.entry() {
        let until = Instant::now() + handle.view().endpoint.drain_deadline;
        handle.drain(until).await;
        let late = |_| failed("ending the last replica", "the kernel did not remove it in time");
        timeout_at(until + REMOVAL_WAIT, handle.over()).await.map_err(late)?;
    }
    deploys.node.outbox.send(Request::Forget { endpoint: name.clone() }).await;
    claim.remove();
    // Before the name is free: a next endpoint of this name has logs of its own.
    if timeout(REMOVAL_WAIT, deploys.node.logs.remove(&name)).await.is_err() {
        tracing::warn!(endpoint = %name, "its logs were not removed in time");
    }
    drop((claim, kept));
    collect_garbage(deploys).await;
    deploys.images.clone().collect_garbage().await;
    Ok(())
}

fn failed(operation: &str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> DeleteError {
    DeleteError::Failed { operation: operation.to_owned(), source: source.into() }
}

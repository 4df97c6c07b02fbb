mod delete;
mod start;
mod strays;

use std::{sync::Arc, time::Instant};

use dormouse_sandbox::messages::{ReplicaReport, Request};
use dormouse_spec::EndpointName;
use prometheus::Registry;
use tokio::sync::watch;

pub use start::StartError;

use crate::{
    AcquireError, Condition, ControllerSettings, DeleteError, DeployError, DeployProgress, DeployRequest, Deployed,
    EndpointView, Expectation, Images, Lease, LogError, LogLines, LogQuery, SpawnerLink, deploy::Deploys,
    directory::Entry, endpoint::EndpointHandle,
};

/// What a caller is told to wait where no start was measured.
const RETRY_AFTER: std::time::Duration = std::time::Duration::from_secs(1);

/// A handle on the controller; cheap to clone.
#[derive(Debug, Clone)]
pub struct Controller {
    deploys: Arc<Deploys>,
    images: Images,
    draining: watch::Sender<bool>,
}

impl Controller {
    /// Reads desired state, adopts the replicas that live, ends strangers, and begins to serve.
    ///
    /// # Errors
    /// Where desired state cannot be read or the metrics are registered twice.
    pub async fn start(
        settings: ControllerSettings,
        link: SpawnerLink,
        replicas: Vec<(ReplicaReport, std::os::fd::OwnedFd)>,
        metrics: &Registry,
    ) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let draining = watch::Sender::new(false);
        let (deploys, images) = start::start(settings, link, replicas, metrics, draining.clone()).await?;
        let controller = Self { deploys: Arc::new(deploys), images, draining };
        tokio::spawn(controller.clone().drain_when_told());
        Ok(controller)
    }

    /// The images of this node.
    #[must_use]
    pub fn images(&self) -> &Images {
        &self.images
    }

    /// The endpoint of this name or alias.
    #[must_use]
    pub fn endpoint(&self, name_or_alias: &str) -> Option<Arc<EndpointView>> {
        self.deploys.directory.find(name_or_alias).map(|entry| entry.view())
    }

    /// All endpoints by name.
    #[must_use]
    pub fn endpoints(&self) -> Vec<Arc<EndpointView>> {
        self.deploys.directory.all().iter().map(Entry::view).collect()
    }

    /// Waits for a replica that may take one request, waking or starting one if need be.
    ///
    /// # Errors
    /// See [`AcquireError`]. Dropping the future leaves the queue.
    pub async fn acquire(&self, endpoint: &EndpointName, deadline: Instant) -> Result<Lease, AcquireError> {
        match self.deploys.directory.find(endpoint.as_str()) {
            None => Err(AcquireError::NotFound),
            Some(Entry::Served(handle)) => handle.acquire(deadline).await,
            Some(Entry::Unserved(view)) => Err(unserved(&view)),
        }
    }

    /// Says that a request is on its way whose body is waited for `until` then: a replica begins to wake.
    /// None where one is ready, or where there is nothing to wake.
    #[must_use]
    pub fn expect(&self, endpoint: &EndpointName, until: Instant) -> Option<Expectation> {
        let handle = self.deploys.directory.find(endpoint.as_str())?.served()?;
        handle.expect(until)
    }

    /// As [`Self::acquire`], for a request that was expected.
    ///
    /// # Errors
    /// See [`AcquireError`]. Dropping the future leaves the queue.
    pub async fn acquire_expected(
        &self,
        endpoint: &EndpointName,
        deadline: Instant,
        expectation: Expectation,
    ) -> Result<Lease, AcquireError> {
        match self.deploys.directory.find(endpoint.as_str()) {
            Some(Entry::Served(handle)) if handle.is_same(expectation.handle()) => {
                handle.acquire_expected(deadline, expectation).await
            }
            // It was deleted, and perhaps deployed anew, while the body was on its way.
            _ => self.acquire(endpoint, deadline).await,
        }
    }

    /// Stores, probes and commits a new revision, then moves the traffic to it. A deploy that began
    /// goes on where this future is dropped.
    ///
    /// # Errors
    /// See [`DeployError`]; the previous revision then keeps serving.
    pub async fn deploy(&self, request: DeployRequest, progress: DeployProgress) -> Result<Deployed, DeployError> {
        if *self.draining.borrow() {
            return Err(DeployError::Draining);
        }
        let claim = self.deploys.begin(&request)?;
        let deploys = Arc::clone(&self.deploys);
        let deploy = tokio::spawn(async move { deploys.run(claim, request, progress).await });
        let ended = |error| DeployError::Failed { operation: "the deploy".to_owned(), source: Box::new(error) };
        deploy.await.map_err(ended)?
    }

    /// Drains and removes an endpoint; returns when nothing of it is left. It goes on where this
    /// future is dropped.
    ///
    /// # Errors
    /// See [`DeleteError`].
    pub async fn delete(&self, name: &EndpointName) -> Result<(), DeleteError> {
        let claim = delete::begin(&self.deploys, name)?;
        let deploys = Arc::clone(&self.deploys);
        let delete = tokio::spawn(async move { delete::run(&deploys, claim).await });
        let ended = |error| DeleteError::Failed { operation: "the delete".to_owned(), source: Box::new(error) };
        delete.await.map_err(ended)?
    }

    /// The endpoint's kept log lines, and where they are followed those to come.
    ///
    /// # Errors
    /// See [`LogError`].
    pub async fn logs(&self, name: &str, query: LogQuery) -> Result<LogLines, LogError> {
        let Some(entry) = self.deploys.directory.find(name) else { return Err(LogError::NotFound(name.to_owned())) };
        let endpoint = &entry.view().endpoint.name;
        let failed = |source| LogError::Read { endpoint: endpoint.to_string(), source };
        self.deploys.node.logs.read(endpoint, query).await.map_err(failed)
    }

    /// Turns true when the daemon was told to end; the gateway then stops accepting, finishes what
    /// runs and calls [`Self::drained`].
    #[must_use]
    pub fn draining(&self) -> watch::Receiver<bool> {
        self.draining.subscribe()
    }

    /// Waits until every lease is back or `deadline` passed, and tells the spawner so.
    pub async fn drained(&self, deadline: Instant) {
        self.draining.send_replace(true);
        let deadline = tokio::time::Instant::from_std(deadline);
        let all_back = async {
            for handle in self.served() {
                handle.drain(deadline).await;
                handle.unleased().await;
            }
        };
        if tokio::time::timeout_at(deadline, all_back).await.is_err() {
            tracing::warn!("requests were still running at the end of the drain deadline");
        }
        self.deploys.node.outbox.send_last(Request::Drained).await;
    }

    /// Refuses new requests everywhere as soon as the daemon is told to end.
    async fn drain_when_told(self) {
        let mut draining = self.draining.subscribe();
        if draining.wait_for(|draining| *draining).await.is_err() {
            return;
        }
        for handle in self.served() {
            let until = tokio::time::Instant::now() + handle.view().endpoint.drain_deadline;
            handle.drain(until).await;
        }
    }

    fn served(&self) -> Vec<EndpointHandle> {
        self.deploys.directory.all().into_iter().filter_map(Entry::served).collect()
    }
}

fn unserved(view: &EndpointView) -> AcquireError {
    match (view.condition, &view.last_failure) {
        (Condition::Failed, Some(cause)) => {
            AcquireError::StartFailed { cause: cause.clone(), retry_after: RETRY_AFTER }
        }
        _ => AcquireError::Deploying { retry_after: RETRY_AFTER },
    }
}

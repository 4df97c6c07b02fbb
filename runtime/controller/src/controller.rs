use std::{sync::Arc, time::Instant};

use dormouse_sandbox::messages::ReplicaReport;
use dormouse_spec::EndpointName;
use prometheus::Registry;
use tokio::sync::watch;

use crate::{
    AcquireError, ControllerSettings, DeleteError, DeployError, DeployProgress, DeployRequest, Deployed, EndpointView,
    Lease, LogError, LogLines, SpawnerLink,
};

/// A handle on the controller; cheap to clone.
#[derive(Debug, Clone)]
pub struct Controller {}

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
        let _ = (settings, link, replicas, metrics);
        todo!()
    }

    /// The endpoint of this name or alias.
    #[must_use]
    pub fn endpoint(&self, name_or_alias: &str) -> Option<Arc<EndpointView>> {
        let _ = name_or_alias;
        todo!()
    }

    /// All endpoints by name.
    #[must_use]
    pub fn endpoints(&self) -> Vec<Arc<EndpointView>> {
        todo!()
    }

    /// Waits for a replica that may take one request, waking or starting one if need be.
    ///
    /// # Errors
    /// See [`AcquireError`]. Dropping the future leaves the queue.
    pub async fn acquire(&self, endpoint: &EndpointName, deadline: Instant) -> Result<Lease, AcquireError> {
        let _ = (endpoint, deadline);
        todo!()
    }

    /// Stores, probes and commits a new revision, then moves the traffic to it.
    ///
    /// # Errors
    /// See [`DeployError`]; the previous revision then keeps serving.
    pub async fn deploy(&self, request: DeployRequest, progress: DeployProgress) -> Result<Deployed, DeployError> {
        let _ = (request, progress);
        todo!()
    }

    /// Drains and removes an endpoint; returns when nothing of it is left.
    ///
    /// # Errors
    /// See [`DeleteError`].
    pub async fn delete(&self, name: &EndpointName) -> Result<(), DeleteError> {
        let _ = name;
        todo!()
    }

    /// The endpoint's kept log lines, and with `follow` those to come.
    ///
    /// # Errors
    /// See [`LogError`].
    pub async fn logs(&self, name: &str, follow: bool) -> Result<LogLines, LogError> {
        let _ = (name, follow);
        todo!()
    }

    /// Turns true when the daemon was told to end; the gateway then stops accepting, finishes what
    /// runs and calls [`Self::drained`].
    #[must_use]
    pub fn draining(&self) -> watch::Receiver<bool> {
        todo!()
    }

    /// Waits until every lease is back or `deadline` passed, and tells the spawner so.
    pub async fn drained(&self, deadline: Instant) {
        let _ = deadline;
        todo!()
    }
}

use std::{
    io::{Seek, Write},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use dormouse_controller::{
    AcquireError, Controller, ControllerSettings, DeployError, DeployRequest, Deployed, EndpointView, ImageSettings,
    Lease, ModelFile, SpawnerLink,
};
use dormouse_image::registry::RegistrySettings;
use dormouse_sandbox::{
    channel::pair,
    messages::{ReplicaSpec, ReplicaState},
};
use dormouse_spec::{Bytes, EndpointDefaults, EndpointName, EndpointRequest};
use prometheus::{Encoder, Registry, TextEncoder};
use tempfile::TempDir;
use tokio::sync::mpsc;

use crate::spawner::Spawner;

pub(crate) const SECOND: Duration = Duration::from_secs(1);
/// What each replica has by the settings below.
pub(crate) const REPLICA_MEMORY: Bytes = Bytes::from_mebibytes(64);

/// The directories of a daemon; they outlive a node.
pub(crate) struct Disk {
    pub(crate) data: TempDir,
    pub(crate) run: TempDir,
}

impl Disk {
    pub(crate) fn new() -> Self {
        let run = TempDir::new().unwrap();
        std::fs::create_dir(run.path().join("sockets")).unwrap();
        Self { data: TempDir::new().unwrap(), run }
    }

    pub(crate) fn state_of(&self, name: &str) -> PathBuf {
        self.data.path().join("endpoints").join(format!("{name}.json"))
    }

    pub(crate) fn models(&self) -> usize {
        std::fs::read_dir(self.data.path().join("models")).unwrap().count()
    }
}

/// A controller with the spawner it talks to.
pub(crate) struct Node {
    pub(crate) controller: Controller,
    pub(crate) spawner: Spawner,
    registry: Registry,
}

pub(crate) fn settings(disk: &Disk) -> ControllerSettings {
    ControllerSettings {
        data: disk.data.path().to_owned(),
        run: disk.run.path().to_owned(),
        images: ImageSettings {
            registries: RegistrySettings::default(),
            credentials: disk.data.path().join("registries.json"),
            layer_bytes_max: Bytes::from_mebibytes(1),
            gc: None,
        },
        prepare_for: None,
        defaults: EndpointDefaults { memory: Some(REPLICA_MEMORY), ..EndpointDefaults::default() },
        memory_budget: Bytes::from_mebibytes(16 << 10),
        node_cpus: 2,
        body_bytes_max: 64 << 20,
        crash_back_off_first: SECOND,
        crash_back_off_max: 60 * SECOND,
        crash_back_off_reset: 600 * SECOND,
        log_file_bytes_max: 1 << 20,
        log_kept_after_exit: 600 * SECOND,
    }
}

impl Node {
    pub(crate) async fn start(disk: &Disk) -> Self {
        Self::start_with(settings(disk), Vec::new()).await
    }

    /// A node whose budget holds so many replicas.
    pub(crate) async fn with_room_for(disk: &Disk, replicas: u64) -> Self {
        let memory_budget = Bytes::new(REPLICA_MEMORY.get() * replicas);
        Self::start_with(ControllerSettings { memory_budget, ..settings(disk) }, Vec::new()).await
    }

    pub(crate) async fn start_with(settings: ControllerSettings, living: Vec<(ReplicaSpec, ReplicaState)>) -> Self {
        let (ours, theirs) = pair().unwrap();
        let spawner = Spawner::start(settings.run.clone(), theirs, living);
        let (link, welcome) = SpawnerLink::connect(ours).await.unwrap();
        let registry = Registry::new();
        let controller = Controller::start(settings, link, welcome.replicas, &registry).await.unwrap();
        Self { controller, spawner, registry }
    }

    pub(crate) async fn deploy(&self, name: &str) -> Deployed {
        self.try_deploy(named(name), name).await.unwrap()
    }

    /// Deploys a model with this content.
    pub(crate) async fn try_deploy(&self, endpoint: EndpointRequest, content: &str) -> Result<Deployed, DeployError> {
        let (progress, _) = mpsc::channel(1);
        self.controller.deploy(DeployRequest { endpoint, files: vec![model(content)], sample: None }, progress).await
    }

    /// Asks for a lease, with a deadline in 300 s.
    pub(crate) async fn acquire(&self, endpoint: &str) -> Result<Lease, AcquireError> {
        self.controller.acquire(&name(endpoint), in_future(300 * SECOND)).await
    }

    /// Asks in a task of its own.
    pub(crate) fn ask(&self, endpoint: &str) -> tokio::task::JoinHandle<Result<Lease, AcquireError>> {
        let (controller, endpoint) = (self.controller.clone(), name(endpoint));
        tokio::spawn(async move { controller.acquire(&endpoint, in_future(300 * SECOND)).await })
    }

    pub(crate) fn view(&self, endpoint: &str) -> Arc<EndpointView> {
        self.controller.endpoint(endpoint).unwrap()
    }

    /// Waits until the endpoint looks so.
    pub(crate) async fn wait_for(&self, endpoint: &str, is: impl Fn(&EndpointView) -> bool) -> Arc<EndpointView> {
        until(|| is(&self.view(endpoint))).await;
        self.view(endpoint)
    }

    pub(crate) fn metrics(&self) -> String {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text).unwrap();
        String::from_utf8(text).unwrap()
    }
}

pub(crate) fn name(text: &str) -> EndpointName {
    text.parse().unwrap()
}

pub(crate) fn named(text: &str) -> EndpointRequest {
    EndpointRequest::named(name(text))
}

/// Waits for what has no event of its own.
pub(crate) async fn until(mut is: impl FnMut() -> bool) {
    // By the clock that the tests move: it stands still but for these sleeps.
    for _ in 0..100_000 {
        if is() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("what was awaited did not come");
}

/// By the clock that the tests move.
pub(crate) fn in_future(time: Duration) -> Instant {
    (tokio::time::Instant::now() + time).into_std()
}

fn model(content: &str) -> ModelFile {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(content.as_bytes()).unwrap();
    file.rewind().unwrap();
    ModelFile { path: "model.onnx".to_owned(), file: file.into() }
}

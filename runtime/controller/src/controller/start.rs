//! The start of a node process: what is to run is compared with what runs. There is no other
//! recovery code.

use std::{collections::BTreeMap, os::fd::OwnedFd, path::PathBuf, sync::Arc};

use dormouse_image::{ImageStore, ModelStore, PreparedStore, StoreError as ModelStoreError, StoreLimits};
use dormouse_sandbox::messages::{ReplicaId, ReplicaReport, Work};
use dormouse_spec::{EndpointError, EndpointName, EndpointRequest};
use prometheus::Registry;
use tokio::sync::{Mutex, watch};

use super::strays;
use crate::{
    ControllerSettings, EndpointView, ImageSettings, SpawnerLink,
    clock::Clock,
    configs::ConfigStore,
    deploy::{Deploys, collect_garbage},
    directory::{Directory, Entry},
    endpoint::{self, EndpointHandle, Parts},
    images::{GcCounters, Images, LayerAnswers, Layers},
    link::{DaemonSigns, FactInbox, FactSender, Routes, fact_inbox},
    logs::Logs,
    memory::{Account, Memory},
    metrics::Metrics,
    node::{Node, Serials},
    policy::{Owner, Usage},
    preparation::{Preparation, Preparations, prepare_missing},
    revision::{Content, ImageContent, ModelContent, ProcessError, Revision},
    store::{Desired, DesiredContent, DesiredModel, Store, StoreError},
};

/// Why a node cannot begin to serve.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("desired state cannot be read")]
    DesiredState(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("a store cannot be opened")]
    Models(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the store of configuration cannot be opened")]
    Configs(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("registries cannot be spoken to")]
    Registries(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the directory of logs `{}` cannot be prepared", path.display())]
    Logs {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the metrics cannot be registered")]
    Metrics(#[source] prometheus::Error),
}

/// An endpoint that is to run, with the replicas of it that do.
struct Found {
    revision: Revision,
    replicas: Vec<(ReplicaReport, OwnedFd)>,
    facts: FactInbox,
    facts_sender: FactSender,
}

pub(super) async fn start(
    settings: ControllerSettings,
    link: SpawnerLink,
    replicas: Vec<(ReplicaReport, OwnedFd)>,
    registry: &Registry,
    drain: watch::Sender<bool>,
) -> Result<(Deploys, Images), StartError> {
    let directory = Directory::default();
    let metrics = Metrics::register(registry, directory.clone()).map_err(StartError::Metrics)?;
    metrics.set_memory_budget(settings.memory_budget);
    let store = Store::open(&settings.data).await.map_err(|error| StartError::DesiredState(error.into()))?;
    let (models, prepared, images) = open_stores(settings.data.clone()).await?;
    let preparations = Preparations::new(prepared, settings.prepare_for);
    let logs = prepare_logs(&settings, &replicas).await?;
    let serials = Arc::new(Serials::start(replicas.iter().map(|(report, _)| &report.spec.replica)));
    let configs = ConfigStore::open(&settings.data).map_err(|error| StartError::Configs(error.into()))?;
    let mut desired = load(&store, &directory, &settings, &configs).await?;
    configs.sweep();
    let missing = find_prepared(&mut desired, &preparations).await;
    let (found, strays, logs_of_strays) = assign(desired, replicas);

    let (strays_sender, strays_facts) = fact_inbox();
    let (layers, drained) = (LayerAnswers::default(), drain.subscribe());
    let daemon =
        DaemonSigns { drain, slowest_turn: metrics.slowest_turn(), blanks: metrics.blanks(), layers: layers.clone() };
    let outbox = link.run(routes(&found, &strays, &strays_sender), daemon);
    let clock = Clock::start();
    let memory = Memory::start(settings.memory_budget, clock, metrics.memory_used());
    let layers = Layers::new(&settings.data, outbox.clone(), layers);
    let images = open_images(settings.images.clone(), images, layers, store.clone(), metrics.gc(), drained).await?;
    let settings = Arc::new(settings);
    // Else their files would stay until the next start.
    for (replica, log) in logs_of_strays {
        logs.keep(replica.endpoint(), &replica, log);
    }
    let node = Node { settings, clock, outbox: outbox.clone(), memory, logs, metrics, serials };

    // All memory that is in use is entered before anybody may ask for more.
    let account = node.memory.open(Owner::Stray, 0, strays_sender).await;
    strays::adopt(&strays, &account).await;
    let accounts = enter_memory(&node, &found).await;
    tokio::spawn(strays::end(strays, account, strays_facts, outbox));
    let mut handles = Vec::with_capacity(found.len());
    for (found, account) in found.into_iter().zip(accounts) {
        handles.push(serve(&node, &directory, found, account));
    }
    for handle in handles {
        // A task answers after it has taken in what it adopts, so nobody is shown an endpoint
        // without the replicas that it has.
        handle.unleased().await;
    }
    let deploys = Deploys {
        node,
        directory,
        store,
        models,
        preparations,
        images: images.clone(),
        configs,
        commit: Arc::new(Mutex::new(())),
    };
    collect_garbage(&deploys).await;
    tokio::spawn(prepare_missing(deploys.clone(), missing));
    tokio::spawn(images.clone().collect_garbage());
    tokio::spawn(images.clone().watch_disk());
    Ok((deploys, images))
}

/// Looks for each revision's prepared model. Returns those that have none and are to get one.
async fn find_prepared(revisions: &mut [Revision], preparations: &Preparations) -> Vec<Revision> {
    let mut missing = Vec::new();
    for revision in revisions {
        let there = preparations.find(revision, None).await;
        let Some(model) = revision.model_mut() else { continue };
        match (there, preparations.refusal()) {
            (Some(there), _) => model.preparation = there.preparation,
            (None, Some(refusal)) => model.preparation = refusal,
            (None, None) => {
                // What was prepared for another machine is not used on this one.
                if model.preparation.key().is_some() {
                    model.preparation = Preparation::not_yet();
                }
                missing.push(revision.clone());
            }
        }
    }
    missing
}

async fn open_stores(data: PathBuf) -> Result<(ModelStore, PreparedStore, ImageStore), StartError> {
    let open = move || {
        let limits = StoreLimits::default();
        Ok((ModelStore::open(&data, limits)?, PreparedStore::open(&data, limits)?, ImageStore::open(&data, limits)?))
    };
    let opened = tokio::task::spawn_blocking(open).await.map_err(|error| StartError::Models(error.into()))?;
    opened.map_err(|error: ModelStoreError| StartError::Models(error.into()))
}

async fn open_images(
    settings: ImageSettings,
    store: ImageStore,
    layers: Layers,
    endpoints: Store,
    counters: GcCounters,
    draining: watch::Receiver<bool>,
) -> Result<Images, StartError> {
    let open = move || Images::new(settings, store, layers, endpoints, counters, draining);
    let opened = tokio::task::spawn_blocking(open).await.map_err(|error| StartError::Registries(error.into()))?;
    opened.map_err(|error| StartError::Registries(error.into()))
}

async fn prepare_logs(
    settings: &ControllerSettings,
    replicas: &[(ReplicaReport, OwnedFd)],
) -> Result<Logs, StartError> {
    let path = settings.run.join("logs");
    let logs = Logs::new(path.clone(), settings.log_file_bytes_max, settings.log_kept_after_exit);
    let living = replicas.iter().map(|(report, _)| report.spec.replica.clone()).collect();
    logs.prepare(living).await.map_err(|source| StartError::Logs { path, source })?;
    Ok(logs)
}

/// The endpoints that are to run. One that cannot is shown as failed and costs no other.
async fn load(
    store: &Store,
    directory: &Directory,
    settings: &ControllerSettings,
    configs: &ConfigStore,
) -> Result<Vec<Revision>, StartError> {
    let loaded = store.load().await.map_err(|error| StartError::DesiredState(error.into()))?;
    let mut revisions = Vec::new();
    for (name, desired) in loaded {
        let is_image = desired.as_ref().is_ok_and(|desired| desired.image().is_some());
        match desired.map_err(Unserved::from).and_then(|desired| resolve(desired, settings, configs)) {
            Ok(revision) => revisions.push(revision),
            Err(error) => {
                tracing::error!(endpoint = %name, error = &error as &dyn std::error::Error, "an endpoint cannot be served");
                show_failed(&name, is_image, &error, directory, settings)?;
            }
        }
    }
    Ok(revisions)
}

/// Why an endpoint of the store does not serve.
#[derive(Debug, thiserror::Error)]
enum Unserved {
    #[error("its desired state cannot be read: {0}")]
    File(#[from] StoreError),
    #[error("its settings do not fit this node: {0}")]
    Settings(#[from] EndpointError),
    #[error("its image cannot be run: {0}")]
    Process(#[from] ProcessError),
}

fn resolve(desired: Desired, settings: &ControllerSettings, configs: &ConfigStore) -> Result<Revision, Unserved> {
    let bytes = desired.model().map(|model| model.bytes).unwrap_or_default();
    let Desired { mut request, revision: number, content } = desired;
    if let DesiredContent::Image(image) = &content {
        image.contract.fill(&mut request);
    }
    let endpoint = request.resolve(&settings.defaults, bytes, settings.node_cpus)?;
    let content = match (content, request.container) {
        (DesiredContent::Image(image), Some(container)) => {
            Content::Image(Arc::new(ImageContent::new(&endpoint, number, &container, *image, configs)?))
        }
        // Of a container that has no image no desired state is read.
        (DesiredContent::Image(_), None) => return Err(Unserved::Process(ProcessError::NoCommand)),
        (DesiredContent::Model(of), _) => {
            let DesiredModel { model, bytes, metadata, preparation, .. } = *of;
            let preparation = preparation.unwrap_or_else(Preparation::not_yet);
            Content::Model(ModelContent { model, bytes, preparation, metadata })
        }
    };
    Ok(Revision { number, endpoint: Arc::new(endpoint), content })
}

fn show_failed(
    name: &EndpointName,
    is_image: bool,
    error: &Unserved,
    directory: &Directory,
    settings: &ControllerSettings,
) -> Result<(), StartError> {
    let asked = EndpointRequest::named(name.clone());
    let endpoint = asked
        .resolve(&settings.defaults, dormouse_spec::Bytes::new(0), settings.node_cpus)
        .map_err(|error| StartError::DesiredState(error.into()))?;
    let view = EndpointView::unserved(Arc::new(endpoint), is_image, Some(error.to_string()));
    directory.insert(name, Entry::Unserved(Arc::new(view)), None);
    Ok(())
}

type Assigned = (Vec<Found>, Vec<ReplicaReport>, Vec<(ReplicaId, OwnedFd)>);

/// Gives each replica to its endpoint; the others are strays, whose logs come beside them.
fn assign(revisions: Vec<Revision>, replicas: Vec<(ReplicaReport, OwnedFd)>) -> Assigned {
    let mut found: BTreeMap<EndpointName, Found> = revisions
        .into_iter()
        .map(|revision| {
            let (facts_sender, facts) = fact_inbox();
            let name = revision.endpoint.name.clone();
            (name, Found { revision, replicas: Vec::new(), facts, facts_sender })
        })
        .collect();
    let (mut strays, mut logs) = (Vec::new(), Vec::new());
    for (report, log) in replicas {
        match found.get_mut(report.spec.replica.endpoint()) {
            Some(found) => found.replicas.push((report, log)),
            None => {
                logs.push((report.spec.replica.clone(), log));
                strays.push(report);
            }
        }
    }
    (found.into_values().collect(), strays, logs)
}

fn routes(found: &[Found], strays: &[ReplicaReport], strays_sender: &FactSender) -> Routes {
    let owned = found.iter().flat_map(|found| {
        found.replicas.iter().map(|(report, _)| (report.spec.replica.clone(), found.facts_sender.clone()))
    });
    owned.chain(strays.iter().map(|report| (report.spec.replica.clone(), strays_sender.clone()))).collect()
}

async fn enter_memory(node: &Node, found: &[Found]) -> Vec<Account> {
    let mut accounts = Vec::with_capacity(found.len());
    for Found { revision, replicas, facts_sender, .. } in found {
        let (name, floor) = (revision.endpoint.name.clone(), revision.endpoint.min_replicas);
        let account = node.memory.open(Owner::Endpoint(name), floor, facts_sender.clone()).await;
        for (ReplicaReport { spec, .. }, _) in replicas {
            // What it does is told by its endpoint's task, which judges its state.
            account.adopt(spec.replica.clone(), spec.limits.memory, usage_until_judged(spec.work())).await;
        }
        accounts.push(account);
    }
    accounts
}

fn usage_until_judged(work: Option<&Work>) -> Usage {
    match work {
        Some(Work::Template { .. }) => Usage::TemplateInUse,
        Some(Work::Serve { .. } | Work::Fork { .. } | Work::Prepare {}) | None => Usage::Starting,
    }
}

fn serve(node: &Node, directory: &Directory, found: Found, account: Account) -> EndpointHandle {
    let Found { revision, replicas, facts, facts_sender } = found;
    let (name, alias) = (revision.endpoint.name.clone(), revision.endpoint.alias.clone());
    let mut adopted = Vec::with_capacity(replicas.len());
    for (report, log) in replicas {
        node.logs.keep(&name, &report.spec.replica, log);
        adopted.push(report);
    }
    let handle = endpoint::start(node.clone(), Parts { revision, account, facts, facts_sender, adopted });
    directory.insert(&name, Entry::Served(handle.clone()), alias.as_ref());
    handle
}

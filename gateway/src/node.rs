//! The unprivileged process: its parts, made in the order in which they need each other.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::OwnedFd,
    sync::Arc,
    time::Instant,
};

use dormouse_controller::{Controller, LinkError, SpawnerLink, Welcome};
use dormouse_sandbox::messages::{ImageIdsMode, Listener};
use prometheus::Registry;
use tokio::{
    net::{TcpListener, UnixListener},
    sync::watch,
};

use crate::{
    admin::{self, Admin, Admission, api::NodeStatus},
    config::NodeSettings,
    inference::{self, Gateway},
};

/// Why the node process cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("the spawner's settings are not those of this version: restart the daemon")]
    Settings(#[source] serde_json::Error),
    #[error("the spawner passed no {0:?} listener")]
    NoListener(Listener),
    #[error("using the {listener:?} listener failed")]
    Listener {
        listener: Listener,
        #[source]
        source: io::Error,
    },
    #[error("starting the controller failed")]
    Controller(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("registering metrics failed")]
    Metrics(#[from] prometheus::Error),
    #[error("the spawner is gone")]
    SpawnerGone,
}

/// Serves until the daemon is told to end. `channel` is the node's end of its channel to the spawner.
///
/// # Errors
/// [`NodeError::SpawnerGone`] where the daemon ended without saying so, else why it could not begin.
pub async fn run(channel: OwnedFd) -> Result<(), NodeError> {
    let (link, welcome) = SpawnerLink::connect(channel).await?;
    let spawner_gone = link.closed();
    tokio::select! {
        served = serve(link, welcome) => served,
        () = spawner_gone => Err(NodeError::SpawnerGone),
    }
}

async fn serve(link: SpawnerLink, welcome: Welcome) -> Result<(), NodeError> {
    let Welcome { instance, settings, mut listeners, image_ids, replicas } = welcome;
    let settings: NodeSettings = serde_json::from_str(&settings).map_err(NodeError::Settings)?;
    let clients = gateway_listener(take(&mut listeners, Listener::Gateway)?)?;
    let operators = admin_listener(take(&mut listeners, Listener::Admin)?)?;
    let listen = clients.local_addr().map_err(|source| NodeError::Listener { listener: Listener::Gateway, source })?;

    let registry = Registry::new();
    let controller =
        Controller::start(settings.controller(), link, replicas, &registry).await.map_err(NodeError::Controller)?;
    let gateway = Arc::new(Gateway::new(controller.clone(), settings.gateway.clone(), registry)?);
    let admin =
        Arc::new(Admin { controller: controller.clone(), node: node_status(&settings, instance, listen, image_ids) });
    let admission = Admission {
        admin_group: settings.admin_group.clone(),
        node_uid: rustix::process::getuid().as_raw(),
        container_uids: settings.uid_base..settings.uid_base.saturating_add(settings.uid_count),
    };
    tracing::info!(%listen, "serving");

    // Operators may still look while clients' last requests run, and their connections end with this.
    let administration = tokio::spawn(admin::serve(admin, admission, operators));
    let drain = settings.drain_deadline;
    inference::serve(gateway, clients, told_to_end(controller.draining()), drain).await;
    controller.drained(Instant::now() + drain).await;
    administration.abort();
    tracing::info!("drained");
    Ok(())
}

async fn told_to_end(mut draining: watch::Receiver<bool>) {
    // An error means that the controller is gone, after which there is nothing to serve either.
    let _ = draining.wait_for(|draining| *draining).await;
}

fn take(listeners: &mut Vec<(Listener, OwnedFd)>, wanted: Listener) -> Result<OwnedFd, NodeError> {
    let found = listeners.iter().position(|(listener, _)| *listener == wanted);
    found.map(|index| listeners.swap_remove(index).1).ok_or(NodeError::NoListener(wanted))
}

fn gateway_listener(descriptor: OwnedFd) -> Result<TcpListener, NodeError> {
    let listener = std::net::TcpListener::from(descriptor);
    listener
        .set_nonblocking(true)
        .and_then(|()| TcpListener::from_std(listener))
        .map_err(|source| NodeError::Listener { listener: Listener::Gateway, source })
}

fn admin_listener(descriptor: OwnedFd) -> Result<UnixListener, NodeError> {
    let listener = std::os::unix::net::UnixListener::from(descriptor);
    listener
        .set_nonblocking(true)
        .and_then(|()| UnixListener::from_std(listener))
        .map_err(|source| NodeError::Listener { listener: Listener::Admin, source })
}

fn node_status(settings: &NodeSettings, instance: String, listen: SocketAddr, image_ids: ImageIdsMode) -> NodeStatus {
    NodeStatus {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        instance,
        listen: reachable(listen),
        memory_budget: settings.memory_budget,
        cpus: settings.cpus,
        draining: false,
        image_ids,
        image_disk: None,
    }
}

/// An address that a client on this machine can connect to, for one that stands for all of them.
fn reachable(mut listen: SocketAddr) -> SocketAddr {
    if listen.ip().is_unspecified() {
        listen.set_ip(if listen.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    listen
}

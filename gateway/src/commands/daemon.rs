use std::{ffi::OsString, net::SocketAddr};

use clap::Args;
use dormouse_sandbox::spawner::{self, ReplicaPolicy, SpawnerSettings};
use dormouse_spec::{CONTAINER_CONCURRENCY_MAX, MilliCpu, PIDS_MAX};

use super::{CommandError, Common, log_to_stderr};
use crate::config::{self, DaemonSettings, NodeSettings, Overrides};

/// Run the daemon in the foreground (root); what is deployed outlives it
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dormouse daemon
  dormouse daemon --config configs/dormouse.toml
  dormouse daemon --data /srv/models --run /run/second --listen 127.0.0.1:8081   a second one beside it

SIGINT and SIGTERM let running requests finish, then stop all replicas. Endpoints stay deployed.")]
pub(super) struct Daemon {
    /// Address for inference requests [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
}

impl Daemon {
    pub(super) fn run(self, common: &Common) -> Result<(), CommandError> {
        let overrides = Overrides { listen: self.listen, data: common.data.clone(), run: common.run.clone() };
        log_to_stderr();
        // What a killed daemon left holds memory that the budget would be without, for as long as this one runs.
        if spawner::end_leftovers(&config::run_directory(common.config.as_deref(), common.run.clone())?) {
            config::await_freed_memory();
        }
        start(config::load(common.config.as_deref(), &overrides)?, None)
    }
}

/// Becomes the spawner, whose log is open. With `companion` the daemon is one that leaves nothing: the command is run
/// once it serves, and its directories go with it.
pub(super) fn start(settings: DaemonSettings, companion: Option<Vec<OsString>>) -> Result<(), CommandError> {
    let DaemonSettings { listen, node_user, onnxruntime, lent, pool, node } = settings;
    Ok(spawner::run(SpawnerSettings {
        data: node.data.clone(),
        run: node.run.clone(),
        listen,
        node_user,
        admin_group: node.admin_group.clone(),
        uid_base: node.uid_base,
        uid_count: node.uid_count,
        image_id_base: node.image_id_base,
        lent,
        onnxruntime,
        node_settings: serde_json::to_string(&node).map_err(CommandError::Json)?,
        policy: policy(&node),
        pool,
        drain_deadline: node.drain_deadline,
        ephemeral: companion.is_some(),
        companion,
    })?)
}

/// The same bounds within which the node resolves an endpoint, for the spawner to hold it to.
fn policy(node: &NodeSettings) -> ReplicaPolicy {
    ReplicaPolicy {
        memory: node.memory_budget,
        cpu: MilliCpu::from_processors(node.cpus),
        pids: PIDS_MAX,
        concurrency: CONTAINER_CONCURRENCY_MAX,
        body_bytes_max: node.gateway.body_bytes_max,
        layer_bytes_max: node.images.layer_bytes_max.get(),
    }
}

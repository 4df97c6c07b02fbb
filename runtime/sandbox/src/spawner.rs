//! The spawner: root, one thread, never blocked for long.
//!
//! It makes, freezes, thaws, ends and removes replicas when the node asks; it starts the node and
//! starts it again; it is the parent of every process of the daemon, and the only one that reaps.
//! It never sees a request's bytes, a log line or a name of a host path that somebody else chose.

mod assignment;
pub(crate) mod child;
mod claim;
mod descriptors;
mod event_loop;
mod host_network;
mod image_support;
mod layers;
mod listeners;
mod node;
mod order;
mod policy;
mod pool;
mod preflight;
mod replica;
mod sandbox;
mod signals;
mod sweep;
mod word;

use std::{
    ffi::OsString,
    fs::{self, File},
    io,
    net::SocketAddr,
    os::fd::AsFd,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::fcntl::Flock;
use rustix::fs::CWD;

pub(crate) use self::{
    child::{close_all_but, fork_child},
    event_loop::how_ended,
};
use self::{
    event_loop::Spawner,
    host_network::HostNetwork,
    layers::{LayerStore, Layers},
    listeners::Listeners,
    node::NodeUser,
    preflight::Found,
    signals::Signals,
};
pub use self::{
    listeners::ListenError,
    node::NodeError,
    policy::ReplicaPolicy,
    pool::PoolSettings,
    preflight::PreflightError,
    sweep::{SweepError, sweep_abandoned},
};
pub use crate::creation::LentPath;
use crate::{
    cgroup::{CgroupError, Hierarchy},
    error_chain,
    instance::{Instance, InstanceError, lock_directory, make_directory},
    removal,
    rootfs::{Rootfs, RootfsError},
    seccomp::{Profiles, SeccompError},
    uids::{ImageRanges, UidBlock, UidError, UidRecord},
};

/// What the composition root decided for the privileged half.
#[derive(Debug, Clone)]
pub struct SpawnerSettings {
    /// Where models and desired state live across restarts.
    pub data: PathBuf,
    /// Where sockets and logs live while the daemon does.
    pub run: PathBuf,
    pub listen: SocketAddr,
    /// As whom the node process runs.
    pub node_user: String,
    /// Whose members may use the admin socket beside root.
    pub admin_group: String,
    pub uid_base: u32,
    pub uid_count: u32,
    /// The first of 65,536 host ids of images' files.
    pub image_id_base: u32,
    /// Directories of the host's that replicas of images may be given.
    pub lent: Vec<LentPath>,
    /// The ONNX Runtime library of the host.
    pub onnxruntime: PathBuf,
    /// Handed to the node as it is.
    pub node_settings: String,
    /// What replicas may be made with, whatever the node asks.
    pub policy: ReplicaPolicy,
    /// How many sandboxes are kept ready.
    pub pool: PoolSettings,
    /// How long the node may take to finish what runs when the daemon is told to end.
    pub drain_deadline: Duration,
    /// Remove the run directory, and the data in it, at the end.
    pub ephemeral: bool,
    /// Arguments for a child of the same program that is started once the node serves; where it
    /// fails, the daemon ends and fails too.
    pub companion: Option<Vec<OsString>>,
}

/// Why the daemon could not start, or ended otherwise than it was told to.
#[derive(Debug, thiserror::Error)]
pub enum SpawnerError {
    #[error(transparent)]
    Preflight(#[from] PreflightError),
    #[error(transparent)]
    Directory(#[from] InstanceError),
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    #[error("removing what an earlier daemon left failed")]
    Sweep(#[from] SweepError),
    #[error(transparent)]
    Rootfs(#[from] RootfsError),
    #[error(transparent)]
    Seccomp(#[from] SeccompError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    Uids(#[from] UidError),
    #[error(transparent)]
    Node(#[from] NodeError),
    #[error("{operation} failed")]
    Io {
        operation: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("the node process cannot serve; its last words, above, say why")]
    NodeFails,
    #[error("the deploy of what was to be served failed")]
    Companion,
    #[error("the spawner was started with {0} threads: it must have one")]
    Threads(usize),
}

/// Ends what an earlier daemon of this run directory left, where none runs: only then is it known how much memory there is
/// for the next one. Tells whether there was anything. What cannot be done is told by [`run`], which does the same.
pub fn end_leftovers(run: &Path) -> bool {
    let swept = || {
        let hierarchy = Hierarchy::detect().ok()?;
        let instance = Instance::lock(run).ok()?;
        sweep::sweep(&instance, &hierarchy).ok()
    };
    let groups = if run.is_dir() { swept().unwrap_or_default() } else { 0 };
    note_swept(groups);
    groups > 0
}

/// The same of ephemeral daemons whose directories are in `parent`. Nobody comes back for one that was killed, so the next
/// one cleans up after it.
pub fn end_abandoned(parent: &Path) {
    // Where there is no hierarchy, [`run`] says so.
    let Ok(hierarchy) = Hierarchy::detect() else { return };
    if let Err(error) = sweep::sweep_abandoned(parent, &hierarchy) {
        tracing::warn!("what a killed `serve` left is still there: {}", error_chain::one_line(&error));
    }
}

fn note_swept(groups: usize) {
    if groups > 0 {
        tracing::info!(groups, "removed what an earlier daemon left");
    }
}

/// Runs the privileged half until a signal ends it. Call it before any thread exists.
///
/// # Errors
/// Each names what to do about it; nothing of this run is left then.
pub fn run(settings: SpawnerSettings) -> Result<(), SpawnerError> {
    check_single_thread()?;
    let found = preflight::check(&settings)?;
    let hierarchy = Hierarchy::detect()?;
    let instance = Instance::lock(&settings.run)?;
    let ephemeral = settings.ephemeral;
    let result = serve(settings, &found, &hierarchy, &instance);
    if ephemeral {
        // Under the lock still, so that no other daemon takes it for abandoned meanwhile. What
        // cannot be removed is found by the next `serve`.
        let _ = removal::whole(CWD.as_fd(), instance.run());
    }
    result
}

/// The order matters: nothing is made before the machine is known to be able to hold it, nothing is
/// swept without the lock, and nobody can connect before there is somebody to answer.
fn serve(
    settings: SpawnerSettings,
    found: &Found,
    hierarchy: &Hierarchy,
    instance: &Instance,
) -> Result<(), SpawnerError> {
    note_swept(sweep::sweep(instance, hierarchy)?);
    let node_user = NodeUser { uid: found.node_uid, gid: found.node_gid };
    let stores = make_directories(&settings.data, instance, node_user)?;
    let block = UidBlock::claim(found.uids, instance.id())?;
    let uids = UidRecord::open(&settings.data.join("uids.json"), block.range);
    let seccomp = Profiles::built_in()?;
    let rootfs = Rootfs::prepare(&instance.private(), &found.program, &settings.onnxruntime)?;
    let signals = Signals::block().map_err(io("blocking signals"))?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(|error| io("becoming the reaper of replicas")(error.into()))?;
    let listeners = Listeners::bind(settings.listen, &instance.admin_socket(), found.admin_gid)?;
    if let Ok(address) = listeners.address() {
        tracing::info!(%address, run = %instance.run().display(), cgroups = %hierarchy.version(), "the daemon listens");
    }
    // Last of what is made: a start that fails leaves none.
    let groups = hierarchy.instance(&instance.cgroup_name())?;
    let spawner = Spawner {
        settings,
        program: &found.program,
        instance,
        groups: &groups,
        rootfs: &rootfs,
        seccomp: &seccomp,
        listeners: &listeners,
        node_user,
        replicas_max: descriptors::raise_limit(),
        stores,
        image_ids: found.image_ids,
        network: HostNetwork::open().map_err(io("opening the daemon's network namespace"))?,
    };
    let layers = Layers::new(LayerStore::open(&spawner.stores.layers));
    let ranges = image_support::ranges(found.image_ids, found.uids, &spawner.stores.layers, spawner.rootfs.scratch());
    if let ImageRanges::Shared { reason, .. } = &ranges {
        tracing::warn!("processes of all images have the same ids of the host's: {reason}");
    }
    let result = spawner.run(uids, ranges, signals, layers);
    if let Err(error) = groups.remove() {
        tracing::warn!("a control group is left for the next start to remove: {}", error_chain::one_line(&error));
    }
    result
}

/// Forking is only sound from a process with one thread.
fn check_single_thread() -> Result<(), SpawnerError> {
    let threads = fs::read_dir("/proc/self/task").map_err(io("counting threads"))?.count();
    if threads == 1 { Ok(()) } else { Err(SpawnerError::Threads(threads)) }
}

/// What the node keeps for its replicas, which are given it read-only.
#[derive(Debug)]
struct Stores {
    models: PathBuf,
    prepared: PathBuf,
    /// Of images: what is below this directory is the node's to make and to change.
    images: PathBuf,
    /// What was unpacked of them, which is the spawner's own.
    layers: PathBuf,
    /// Contents of volumes, which the node writes.
    configs: PathBuf,
    /// Where volumes on disk are, none of which has a name.
    disks: PathBuf,
    /// No other daemon has the same data while this one lives.
    _lock: Flock<File>,
}

/// Directories of both halves.
fn make_directories(data: &Path, instance: &Instance, node: NodeUser) -> Result<Stores, SpawnerError> {
    let nodes = Some((node.uid, node.gid));
    make_directory(data, 0o755, None)?;
    let models = data.join("models");
    make_directory(&models, 0o711, nodes)?;
    let prepared = data.join("prepared");
    make_directory(&prepared, 0o711, nodes)?;
    // Nothing below: it would be made and given away where a link of the node's leads.
    let images = data.join("images");
    make_directory(&images, 0o711, nodes)?;
    let layers = data.join("layers");
    // The node lists it. Nobody else opens it: it is locked, and whoever may open it can hold that.
    make_directory(&layers, 0o751, Some((0, node.gid)))?;
    let lock = lock_directory(&layers)?;
    let configs = data.join("configs");
    make_directory(&configs, 0o700, nodes)?;
    let disks = data.join("disks");
    make_directory(&disks, 0o700, Some((0, 0)))?;
    make_directory(&data.join("endpoints"), 0o700, nodes)?;
    make_directory(&instance.sockets(), 0o750, Some((0, node.gid)))?;
    make_directory(&instance.run().join("logs"), 0o700, nodes)?;
    // Absolute: creation children look it up from wherever they are.
    let models = fs::canonicalize(&models).map_err(io("resolving the model store"))?;
    let prepared = fs::canonicalize(&prepared).map_err(io("resolving the store of prepared models"))?;
    let images = fs::canonicalize(&images).map_err(io("resolving the store of images"))?;
    let layers = fs::canonicalize(&layers).map_err(io("resolving the directory of layers"))?;
    let configs = fs::canonicalize(&configs).map_err(io("resolving the directory of configuration"))?;
    let disks = fs::canonicalize(&disks).map_err(io("resolving the directory of disks"))?;
    Ok(Stores { models, prepared, images, layers, configs, disks, _lock: lock })
}

fn io(operation: &'static str) -> impl FnOnce(io::Error) -> SpawnerError {
    move |source| SpawnerError::Io { operation, source }
}

use std::os::fd::OwnedFd;

use dormouse_sandbox::messages::{Listener, ReplicaReport};

/// The node's end of the channel to the spawner.
#[derive(Debug)]
pub struct SpawnerLink {}

/// What the spawner told at the beginning.
#[derive(Debug)]
pub struct Welcome {
    pub instance: String,
    /// The daemon's configuration, as the composition root wrote it.
    pub settings: String,
    pub listeners: Vec<(Listener, OwnedFd)>,
    /// Replicas that outlived the node process before this one, each with its log pipe.
    pub replicas: Vec<(ReplicaReport, OwnedFd)>,
}

#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("this is no channel to a spawner; `dormouse node` is started by `dormouse daemon`")]
    NoSpawner,
}

impl SpawnerLink {
    /// Says hello over `socket` and waits for the welcome and all replicas.
    ///
    /// # Errors
    /// Where the other side is no spawner, or of another version.
    pub async fn connect(socket: OwnedFd) -> Result<(Self, Welcome), LinkError> {
        let _ = socket;
        todo!()
    }
}

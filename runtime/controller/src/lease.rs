use std::path::Path;

use dormouse_sandbox::messages::{ExitCause, ReplicaId};

/// The right to send one request to one replica. Dropping it gives the right back.
#[derive(Debug)]
pub struct Lease {}

impl Lease {
    #[must_use]
    pub fn replica(&self) -> &ReplicaId {
        todo!()
    }

    /// The Unix socket the replica serves HTTP/1.1 on.
    #[must_use]
    pub fn socket(&self) -> &Path {
        todo!()
    }

    /// Resolves when the replica is dead, with the cause. A connection to it would never tell
    /// (its socket is held open elsewhere), so every wait for its answer races with this.
    pub async fn lost(&self) -> ExitCause {
        todo!()
    }
}

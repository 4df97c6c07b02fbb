use serde::{Deserialize, Serialize};

use crate::{Bytes, MilliCpu};

/// What one replica may use. The kernel enforces each of them: cpu, memory and pids by cgroup, tmp
/// by the size of the tmpfs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    pub cpu: MilliCpu,
    /// Memory of all processes of the replica, the pages of its /tmp included.
    pub memory: Bytes,
    /// Processes and threads.
    pub pids: u32,
    /// Size of the replica's /tmp.
    pub tmp: Bytes,
}

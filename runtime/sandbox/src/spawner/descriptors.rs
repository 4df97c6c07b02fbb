//! How many replicas the limit of open files is for.

use rustix::process::{Resource, getrlimit, setrlimit};

/// What the spawner holds of one replica: control channel or network, log, freezer, memory alarm and the report
/// of its creation, and duplicates of the log on their way to a node.
const DESCRIPTORS_A_REPLICA: u64 = 7;
/// Standard streams, signals, listeners, the node and sockets on their way to it, the daemon's network, locks, and what one creation opens for its child: a
/// file in every hierarchy of control groups and both ends of each pipe.
const DESCRIPTORS_RESERVED: u64 = 80;
/// However many files may be open: one look at all replicas must stay short.
const REPLICAS_MAX: u64 = 1_000;

/// Raises the soft limit to the hard one, which itself is never raised, and tells how many replicas
/// fit. Children inherit the limit; replicas get one of their own.
pub(super) fn raise_limit() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    let hard = limit.maximum;
    let is_raised = setrlimit(Resource::Nofile, rustix::process::Rlimit { current: hard, maximum: hard }).is_ok();
    if is_raised {
        limit.current = hard;
    }
    replicas_within(limit.current)
}

/// `None` is no limit.
fn replicas_within(descriptors: Option<u64>) -> usize {
    let fit = descriptors.map_or(REPLICAS_MAX, |limit| {
        (limit.saturating_sub(DESCRIPTORS_RESERVED) / DESCRIPTORS_A_REPLICA).min(REPLICAS_MAX)
    });
    usize::try_from(fit).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_fit_the_limit() {
        assert_eq!(replicas_within(Some(1_024)), 134);
        assert_eq!(replicas_within(Some(10)), 0);
        assert_eq!(replicas_within(Some(1 << 20)), 1_000);
        assert_eq!(replicas_within(None), 1_000);
    }
}

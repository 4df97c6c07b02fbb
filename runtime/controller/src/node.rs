use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use dormouse_sandbox::messages::{Payload, ReplicaId, ReplicaSpec};
use dormouse_spec::{EndpointName, Limits};

use tokio::time::Instant;

use crate::{
    Address, ControllerSettings, Inside, clock::Clock, link::Outbox, logs::Logs, memory::Memory, metrics::Metrics,
    revision::Revision,
};

/// What every endpoint and every deploy works with.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) settings: Arc<ControllerSettings>,
    pub(crate) clock: Clock,
    pub(crate) outbox: Outbox,
    pub(crate) memory: Memory,
    pub(crate) logs: Logs,
    pub(crate) metrics: Metrics,
    pub(crate) serials: Arc<Serials>,
}

/// The last part of replica ids, counted for all endpoints together.
///
/// A count that began anew with each node process would give ids again that the same spawner used
/// before, and the ones that live are not all there were. So it begins with the milliseconds since
/// 1970: it would take more than a thousand starts a second to catch up with the clock. Where the
/// clock was set back, it begins after the ones that live.
#[derive(Debug)]
pub(crate) struct Serials(AtomicU64);

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// When something began that was told in milliseconds since 1970; None where that was before the machine did. Where the
/// time of day was set since, it is the sooner or the later by that.
pub(crate) fn began(at_ms: u64) -> Option<Instant> {
    Instant::now().checked_sub(since_1970().saturating_sub(Duration::from_millis(at_ms)))
}

impl Serials {
    pub(crate) fn start<'a>(living: impl IntoIterator<Item = &'a ReplicaId>) -> Self {
        Self::from_clock(u64::try_from(since_1970().as_millis()).unwrap_or(0), living)
    }

    fn from_clock<'a>(millis: u64, living: impl IntoIterator<Item = &'a ReplicaId>) -> Self {
        let serial = |replica: &ReplicaId| replica.as_str().rsplit('-').next()?.parse::<u64>().ok();
        let last = living.into_iter().filter_map(serial).max();
        Self(AtomicU64::new(last.map_or(millis, |last| millis.max(last.saturating_add(1)))))
    }

    fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

impl Node {
    pub(crate) fn new_id(&self, endpoint: &EndpointName, revision: u32) -> ReplicaId {
        ReplicaId::new(endpoint, revision, self.serials.next())
    }

    /// Where the spawner makes the replica's listening socket.
    pub(crate) fn socket(&self, replica: &ReplicaId) -> PathBuf {
        self.settings.run.join("sockets").join(format!("{replica}.sock"))
    }

    /// Where a replica of this revision takes requests.
    pub(crate) fn address(&self, revision: &Revision, replica: &ReplicaId) -> Address {
        match revision.image() {
            None => Address::Unix(self.socket(replica)),
            Some(image) => {
                let (port, protocol) = (image.served.port, image.served.app_protocol);
                let commands = image.commands().to_vec();
                Address::Inside(Inside::new(replica.clone(), port, protocol, commands, self.outbox.clone()))
            }
        }
    }

    /// Of a replica that serves.
    pub(crate) fn replica_spec(&self, revision: &Revision, replica: ReplicaId) -> ReplicaSpec {
        let payload = revision.serving(self.settings.body_bytes_max);
        self.replica_spec_for(revision, replica, payload, revision.endpoint.limits)
    }

    pub(crate) fn replica_spec_for(
        &self,
        revision: &Revision,
        replica: ReplicaId,
        payload: Payload,
        limits: Limits,
    ) -> ReplicaSpec {
        ReplicaSpec {
            replica,
            payload,
            limits,
            concurrency: revision.endpoint.container_concurrency,
            #[cfg(weakened)]
            sysctl: Default::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_clock_that_was_set_back_gives_no_living_replicas_id_again() {
        let endpoint: EndpointName = "a-b".parse().unwrap();
        let living = [17, 1_700_000_000_000].map(|serial| ReplicaId::new(&endpoint, 1, serial));
        assert_eq!(Serials::from_clock(5, &living).next(), 1_700_000_000_001);
        assert_eq!(Serials::from_clock(1_800_000_000_000, &living).next(), 1_800_000_000_000);
        assert_eq!(Serials::from_clock(0, []).next(), 0);
    }
}

//! How the daemon ends: the node drains, then the replicas end, then the spawner. Each step has a
//! deadline, and a second signal skips the waiting.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};

use super::{Loop, NODE_GROUP, SpawnerError};
use crate::{error_chain, messages::Event, spawner::sweep::remove_group};

/// How long a node may take to end after it said that it drained.
const NODE_EXIT_DEADLINE: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
pub(super) struct Ending {
    phase: Phase,
    failure: Option<SpawnerError>,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Serving,
    /// The node finishes what runs.
    Draining { until: Instant },
    /// Nothing is asked for any more: replicas are ended, the node ends by itself.
    Stopping { kill_node_at: Option<Instant> },
}

impl Ending {
    pub(super) fn has_begun(&self) -> bool {
        self.phase != Phase::Serving
    }

    /// Nothing new may begin: what runs is being ended.
    pub(super) fn is_stopping(&self) -> bool {
        matches!(self.phase, Phase::Stopping { .. })
    }

    /// The daemon ends because of this, not because it was told to.
    pub(super) fn failed(&mut self, error: SpawnerError) {
        self.failure.get_or_insert(error);
    }

    pub(super) fn result(&mut self) -> Result<(), SpawnerError> {
        self.failure.take().map_or(Ok(()), Err)
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        match self.phase {
            Phase::Serving => None,
            Phase::Draining { until } => Some(until),
            Phase::Stopping { kill_node_at } => kill_node_at,
        }
    }
}

impl Loop<'_> {
    /// SIGTERM or Ctrl-C: drain. A second one: stop at once.
    pub(super) fn on_told_to_end(&mut self) {
        if self.ending.has_begun() {
            return self.stop_everything(Duration::ZERO);
        }
        tracing::info!("draining; signal again to stop at once");
        self.ending.phase = Phase::Draining { until: Instant::now() + self.spawner.settings.drain_deadline };
        self.tell(Event::Drain, None);
        self.end_companion(Signal::SIGTERM);
        self.restart_node_at = None;
        if self.node.is_none() {
            self.on_drained();
        }
    }

    /// The node holds no lease any more, or is no more.
    pub(super) fn on_drained(&mut self) {
        if self.ending.has_begun() {
            self.stop_everything(NODE_EXIT_DEADLINE);
        }
    }

    fn stop_everything(&mut self, node_may_take: Duration) {
        let kill_node_at = Instant::now() + node_may_take;
        // A node that says again that it drained gets no more time.
        let sooner = match self.ending.phase {
            Phase::Stopping { kill_node_at: Some(before) } => kill_node_at.min(before),
            _ => kill_node_at,
        };
        self.ending.phase = Phase::Stopping { kill_node_at: Some(sooner) };
        self.end_companion(Signal::SIGKILL);
        self.layers.stop();
        for (_, sandbox) in self.sandboxes_mut().filter(|(_, sandbox)| !sandbox.is_over()) {
            if let Err(error) = sandbox.kill() {
                tracing::error!(sandbox = sandbox.name(), "killing it failed: {}", error_chain::one_line(&error));
            }
        }
    }

    pub(super) fn end_what_is_due(&mut self, now: Instant) {
        match &mut self.ending.phase {
            Phase::Draining { until } if now >= *until => {
                tracing::warn!("the drain deadline passed; what still runs is stopped");
                self.stop_everything(Duration::ZERO);
            }
            Phase::Stopping { kill_node_at } if kill_node_at.is_some_and(|at| now >= at) => {
                *kill_node_at = None;
                if let Some(node) = &self.node {
                    node.kill();
                }
            }
            _ => {}
        }
    }

    pub(super) fn remove_node_group(&mut self) {
        if let Err(error) = remove_group(&self.node_group, NODE_GROUP) {
            let reason = error_chain::one_line(&error);
            tracing::warn!("the node's control group is left for the next start to remove: {reason}");
        }
    }

    fn end_companion(&self, signal: Signal) {
        if let Some(companion) = self.companion {
            // It can only fail where the companion ended already, which its exit tells.
            let _ = kill(companion, signal);
        }
    }
}

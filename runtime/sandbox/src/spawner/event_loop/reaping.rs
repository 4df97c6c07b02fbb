//! Children that ended: payloads, creations, removals, the node and the companion.

use std::{
    os::unix::process::CommandExt,
    process::{Command, Stdio},
    time::Instant,
};

use nix::unistd::Pid;
use rustix::{
    io::Errno,
    process::{WaitOptions, WaitStatus, wait},
};

use super::{EARLY_MAX, Loop, NODE_FAILURES_MAX, NODE_IS_STABLE_AFTER, NODE_RESTART_FIRST, NODE_RESTART_MAX, io_error};
use crate::{
    error_chain,
    messages::{Event, ExitCause, ReplicaId},
    spawner::{SpawnerError, child::fork_child, node::Node, replica::Replica},
};

impl Loop<'_> {
    /// Takes the status of every child that ended.
    pub(super) fn reap(&mut self) -> Result<(), SpawnerError> {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(None) | Err(Errno::CHILD) => return Ok(()),
                Ok(Some((pid, status))) => self.on_child_ended(Pid::from_raw(pid.as_raw_pid()), status),
                Err(Errno::INTR) => {}
                Err(error) => return Err(io_error("waiting for a child")(error.into())),
            }
        }
    }

    fn on_child_ended(&mut self, pid: Pid, status: WaitStatus) {
        if self.node.as_ref().is_some_and(|node| node.pid() == pid) {
            return self.on_node_ended(status);
        }
        if self.companion == Some(pid) {
            return self.on_companion_ended(status);
        }
        let found = self.replicas.iter().find_map(|(id, replica)| {
            let whose: fn(&mut Self, &ReplicaId, WaitStatus) = if replica.is_payload(pid) {
                |turn, id, status| turn.on_payload_ended(id, Some(status))
            } else if replica.is_removal_child(pid) {
                Self::on_removed
            } else if replica.is_creation_child(pid) {
                Self::on_creation_ended
            } else {
                return None;
            };
            Some((id.clone(), whose))
        });
        match found {
            Some((id, whose)) => whose(self, &id, status),
            // A payload can end before the child that made it has reported its pid.
            None if self.replicas.values().any(|replica| replica.creation_pipe().is_some()) => {
                // A node process that leaves orphans behind must not grow this. A status that is lost
                // costs no more than the words for how its payload ended.
                if self.early.len() >= EARLY_MAX {
                    self.early.clear();
                }
                self.early.insert(pid, status);
            }
            None => self.early.clear(),
        }
    }

    /// It has reported before; where it has not, it was killed, as for the replica's memory. What it
    /// had begun to make keeps the pipe open, and ends with the group.
    fn on_creation_ended(&mut self, id: &ReplicaId, status: WaitStatus) {
        // The report may still be in the pipe.
        self.on_creation_report(id);
        let Some(replica) = self.replicas.get_mut(id).filter(|replica| replica.creation_pipe().is_some()) else {
            return;
        };
        let cause = match replica.ended(Some(status)) {
            told @ (ExitCause::Stopped | ExitCause::OutOfMemory { .. }) => told,
            _ => ExitCause::NotCreated { reason: format!("the process that was making it {}", how_ended(status)) },
        };
        self.on_over(id, cause);
    }

    /// `status` is not known where too much happened before the payload was known to be one.
    pub(super) fn on_payload_ended(&mut self, id: &ReplicaId, status: Option<WaitStatus>) {
        // What it said last, such as why its model cannot be loaded, comes before its end.
        self.on_worker_said(id);
        let Some(replica) = self.replicas.get_mut(id) else { return };
        let cause = replica.ended(status);
        self.on_over(id, cause);
    }

    /// Tells that no process is left, and begins to remove the rest.
    pub(super) fn on_over(&mut self, id: &ReplicaId, cause: ExitCause) {
        self.tell(Event::Exited { replica: id.clone(), cause }, None);
        self.remove(id);
    }

    fn remove(&mut self, id: &ReplicaId) {
        let (instance, groups) = (self.spawner.instance, self.spawner.groups);
        let Some(replica) = self.replicas.get_mut(id) else { return };
        if let Err(error) = replica.begin_removal(instance, groups) {
            let reason = error_chain::one_line(&error);
            tracing::error!(replica = %id, "what is left of a replica waits for the next start: {reason}");
            self.unremoved.insert(id.endpoint().clone());
            self.forget_replica(id);
        }
    }

    /// A removal that failed, or was killed, is begun again a few times.
    fn on_removed(&mut self, id: &ReplicaId, status: WaitStatus) {
        if status.exit_status() != Some(0) {
            let tries_left = self.replicas.get(id).is_some_and(Replica::may_be_removed_again);
            tracing::warn!(replica = %id, tries_left, "the process that was removing a replica {}", how_ended(status));
            if tries_left {
                return self.remove(id);
            }
            tracing::error!(replica = %id, "what is left of a replica waits for the next start");
            self.unremoved.insert(id.endpoint().clone());
        }
        self.forget_replica(id);
    }

    fn forget_replica(&mut self, id: &ReplicaId) {
        self.replicas.remove(id);
        self.tell(Event::Removed { replica: id.clone() }, None);
        self.release_forgotten();
    }

    pub(super) fn start_node(&mut self) -> Result<(), SpawnerError> {
        self.restart_node_at = None;
        self.node_started = Instant::now();
        let spawner = self.spawner;
        self.node = Some(Node::start(spawner.program, spawner.node_user, &self.node_group)?);
        Ok(())
    }

    /// A later node: where it cannot be started now, for want of a descriptor or of memory, it is tried
    /// again. Replicas go on, and so does whatever else the daemon is there for.
    pub(super) fn start_node_again(&mut self) {
        if let Err(error) = self.start_node() {
            tracing::error!(
                again_in_ms = self.node_restart_in.as_millis(),
                "the node process was not started: {}",
                error_chain::one_line(&error)
            );
            self.restart_node_later();
        }
    }

    fn restart_node_later(&mut self) {
        self.restart_node_at = Some(Instant::now() + self.node_restart_in);
        self.node_restart_in = (self.node_restart_in * 2).clamp(NODE_RESTART_FIRST, NODE_RESTART_MAX);
    }

    /// Ends a node that cannot go on; its exit starts the next one.
    pub(super) fn drop_node(&mut self) {
        if let Some(node) = &mut self.node {
            node.condemn();
        }
    }

    fn on_node_ended(&mut self, status: WaitStatus) {
        self.node = None;
        self.forget_undesired();
        if self.ending.has_begun() {
            return self.on_drained();
        }
        if self.node_started.elapsed() >= NODE_IS_STABLE_AFTER {
            self.node_restart_in = std::time::Duration::ZERO;
            self.node_failures = 0;
        } else if status.exit_status().is_some_and(|status| status != 0) {
            self.node_failures += 1;
        }
        if self.node_failures >= NODE_FAILURES_MAX {
            self.ending.failed(SpawnerError::NodeFails);
            return self.on_told_to_end();
        }
        tracing::warn!(
            status = how_ended(status),
            in_ms = self.node_restart_in.as_millis(),
            "the node process ended and is started again"
        );
        self.restart_node_later();
    }

    /// A node that is no more may have removed an endpoint without saying so, or have died before it
    /// wrote down the one whose replica it had made.
    pub(super) fn forget_undesired(&mut self) {
        self.forgotten.extend(self.uids.undesired(&self.spawner.settings.data.join("endpoints")));
        self.release_forgotten();
    }

    /// The first node that serves lets the companion begin.
    pub(super) fn start_companion(&mut self) {
        let Some(arguments) = self.spawner.settings.companion.as_ref().filter(|_| !self.companion_started) else {
            return;
        };
        self.companion_started = true;
        let child = fork_child(&[], || {
            let error = Command::new(self.spawner.program).args(arguments).stdin(Stdio::null()).exec();
            eprintln!("dormouse: starting the deploy failed: {error}");
            127
        });
        match child {
            Ok(pid) => self.companion = Some(pid),
            Err(error) => {
                tracing::error!("the deploy could not be started: {error}");
                self.ending.failed(SpawnerError::Companion);
                self.on_told_to_end();
            }
        }
    }

    fn on_companion_ended(&mut self, status: WaitStatus) {
        self.companion = None;
        if status.exit_status() != Some(0) && !self.ending.has_begun() {
            self.ending.failed(SpawnerError::Companion);
            self.on_told_to_end();
        }
    }

    /// Whether nothing of this daemon runs any more.
    pub(super) fn is_done(&self) -> bool {
        self.ending.has_begun() && self.node.is_none() && self.companion.is_none() && self.replicas.is_empty()
    }

    pub(super) fn replicas_mut(&mut self) -> impl Iterator<Item = (&ReplicaId, &mut Replica)> {
        self.replicas.iter_mut()
    }
}

/// How a process ended, in words.
fn how_ended(status: WaitStatus) -> String {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("exited with status {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

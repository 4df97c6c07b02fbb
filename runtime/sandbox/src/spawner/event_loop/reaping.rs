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

use super::{
    EARLY_MAX, Loop, NODE_FAILURES_MAX, NODE_IS_STABLE_AFTER, NODE_RESTART_FIRST, NODE_RESTART_MAX, Whose, io_error,
};
use crate::{
    error_chain,
    messages::{Event, ExitCause},
    spawner::{SpawnerError, child::fork_at_terminal, node::Node, word::WORDS_MAX},
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
        if let Some(job) = self.layers.take(pid) {
            return self.on_layer_child_ended(job, status);
        }
        if self.layers.on_leftover_child_ended(pid, status) {
            return;
        }
        let found = self.sandboxes().find_map(|(whose, sandbox)| {
            let ended: fn(&mut Self, &Whose, WaitStatus) = if sandbox.is_payload(pid) {
                |turn, whose, status| turn.on_payload_ended(whose, Some(status))
            } else if sandbox.is_removal_child(pid) {
                Self::on_removed
            } else if sandbox.is_creation_child(pid) {
                Self::on_creation_ended
            } else if sandbox.helper() == Some(pid) {
                |turn, whose, _| turn.on_helper_ended(whose)
            } else {
                return None;
            };
            Some((whose, ended))
        });
        match found {
            Some((whose, ended)) => ended(self, &whose, status),
            // A payload can end before the child that made it has reported its pid.
            None if self.sandboxes().any(|(_, sandbox)| sandbox.creation_pipe().is_some()) => {
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

    /// It has reported before; where it has not, it was killed, as for the sandbox's memory. What it
    /// had begun to make keeps the pipe open, and ends with the group.
    fn on_creation_ended(&mut self, whose: &Whose, status: WaitStatus) {
        // The report may still be in the pipe.
        self.on_creation_report(whose);
        let Some(sandbox) = self.sandbox_mut(whose).filter(|sandbox| sandbox.creation_pipe().is_some()) else {
            return;
        };
        let cause = match sandbox.ended(Some(status)) {
            told @ (ExitCause::Stopped | ExitCause::OutOfMemory { .. }) => told,
            _ => ExitCause::NotCreated { reason: format!("the process that was making it {}", how_ended(status)) },
        };
        self.on_over(whose, cause);
    }

    pub(super) fn on_helper_ended(&mut self, whose: &Whose) {
        let Some(sandbox) = self.sandbox_mut(whose) else { return };
        if let Err(error) = sandbox.lose_helper() {
            let (sandbox, reason) = (sandbox.name(), error_chain::one_line(&error));
            tracing::error!(sandbox, "ending what has lost its network failed: {reason}");
        }
    }

    pub(super) fn on_not_created(&mut self, whose: &Whose, reason: String) {
        let Some(sandbox) = self.sandbox_mut(whose) else { return };
        let cause = sandbox.not_created(reason);
        self.on_over(whose, cause);
    }

    /// `status` is not known where too much happened before the payload was known to be one.
    pub(super) fn on_payload_ended(&mut self, whose: &Whose, status: Option<WaitStatus>) {
        // What it said last, such as why its model cannot be loaded, comes before its end.
        for _ in 0..WORDS_MAX {
            self.on_worker_said(whose);
        }
        let Some(cause) = self.sandbox_mut(whose).map(|sandbox| sandbox.ended(status)) else { return };
        self.on_over(whose, cause);
    }

    /// Tells that no process is left, and begins to remove the rest.
    pub(super) fn on_over(&mut self, whose: &Whose, cause: ExitCause) {
        match whose {
            Whose::Replica(id) => {
                self.tell(Event::Exited { replica: id.clone(), cause }, None);
                self.remove(whose);
                self.on_template_over(id);
            }
            Whose::Blank(id) => self.on_blank_over(*id, &cause),
        }
    }

    pub(super) fn remove(&mut self, whose: &Whose) {
        let (instance, groups) = (self.spawner.instance, self.spawner.groups);
        let socket = match whose {
            Whose::Replica(id) => Some(instance.socket_of(id.as_str())),
            Whose::Blank(_) => None,
        };
        let Some(sandbox) = self.sandbox_mut(whose) else { return };
        if let Err(error) = sandbox.begin_removal(socket.as_deref(), groups) {
            let (sandbox, reason) = (sandbox.name(), error_chain::one_line(&error));
            tracing::error!(sandbox, "what is left of a sandbox waits for the next start: {reason}");
            self.forget_unremoved(whose);
        }
    }

    /// A removal that failed, or was killed, is begun again a few times.
    fn on_removed(&mut self, whose: &Whose, status: WaitStatus) {
        if status.exit_status() == Some(0) {
            return self.forget(whose);
        }
        let Some(sandbox) = self.sandbox_mut(whose) else { return };
        let (tries_left, sandbox) = (sandbox.may_be_removed_again(), sandbox.name());
        tracing::warn!(sandbox, tries_left, "the process that was removing a sandbox {}", how_ended(status));
        if tries_left {
            return self.remove(whose);
        }
        tracing::error!(sandbox, "what is left of a sandbox waits for the next start");
        self.forget_unremoved(whose);
    }

    /// Forgets it but for its uid, as which a process may still run.
    fn forget_unremoved(&mut self, whose: &Whose) {
        let uid = self.sandbox_mut(whose).map(|sandbox| sandbox.uid());
        self.unremoved_uids.extend(uid);
        let range = self.sandbox_mut(whose).and_then(|sandbox| sandbox.range());
        self.unremoved_ranges.extend(range);
        if let Whose::Replica(id) = whose {
            self.unremoved.insert(id.endpoint().clone());
        }
        self.forget(whose);
    }

    fn forget(&mut self, whose: &Whose) {
        match whose {
            Whose::Replica(id) => {
                self.replicas.remove(id);
                self.tell(Event::Removed { replica: id.clone() }, None);
                self.release_forgotten();
            }
            Whose::Blank(id) => drop(self.pool.blanks.remove(id)),
        }
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
        // One that was taken over may have left a process behind, with all that the node was given.
        if let Err(error) = self.node_group.kill() {
            tracing::error!("killing what a node process left failed: {}", error_chain::one_line(&error));
        }
        self.layers.forget_who_asked();
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
        let child = fork_at_terminal(&[], || {
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
        let is_alone = self.node.is_none() && self.companion.is_none() && self.layers.is_idle();
        self.ending.has_begun() && is_alone && self.sandboxes().next().is_none()
    }
}

/// How a process ended, in words.
pub(crate) fn how_ended(status: WaitStatus) -> String {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("exited with status {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

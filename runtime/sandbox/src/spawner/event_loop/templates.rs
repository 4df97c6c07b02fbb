//! Templates' part of the loop: having them fork, and the ends of servers.

use std::time::Instant;

use super::{Loop, Whose};
use crate::{
    error_chain,
    messages::ReplicaId,
    spawner::{order::ServerNumber, word::ServerEnded},
};

impl Loop<'_> {
    pub(super) fn next_server(&mut self) -> ServerNumber {
        self.servers += 1;
        ServerNumber(self.servers)
    }

    /// When servers are to be forked ahead, where a template has none that waits.
    pub(super) fn next_server_due(&self, now: Instant) -> Option<Instant> {
        let is_missing = self.replicas.values().any(|replica| replica.sandbox.misses_next_server());
        if !is_missing || self.ending.has_begun() { None } else { self.calm_from(now) }
    }

    /// Forks them. One that could not be is forked when it is wanted, and that is told then.
    pub(super) fn fork_ahead(&mut self, now: Instant) {
        if self.next_server_due(now).is_none_or(|at| now < at) {
            return;
        }
        let groups = self.spawner.groups;
        let missing = self.replicas.iter().filter(|(_, replica)| replica.sandbox.misses_next_server());
        for id in missing.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            let number = self.next_server();
            let begun = self.replicas.get_mut(&id).map(|it| it.sandbox.begin_next_server(groups, number));
            if let Some(Err(_)) = begun {
                self.ahead.failed(now);
            }
        }
    }

    /// A replica closed its channel before its last word, or a template at any time.
    pub(super) fn on_nothing_more(&mut self, id: &ReplicaId) {
        let Some(replica) = self.replicas.get_mut(id) else { return };
        if replica.sandbox.template().is_some() {
            return self.on_server_gone(id);
        }
        if replica.sandbox.forks() {
            self.on_template_gone(id);
        }
    }

    /// All of a server that may still run is killed, and its template asked for how it ended.
    pub(super) fn on_server_gone(&mut self, id: &ReplicaId) {
        let Some(replica) = self.replicas.get_mut(id) else { return };
        let Some(template) = replica.sandbox.template().cloned() else { return };
        let number = match replica.sandbox.begin_reaping(Instant::now()) {
            Ok(Some(number)) => number,
            Ok(None) => return,
            Err(error) => {
                // Its template then cannot wait for it, and is given up after a while.
                tracing::error!(replica = %id, "killing a server failed: {}", error_chain::one_line(&error));
                return;
            }
        };
        if self.replicas.get(&template).is_none_or(|it| it.sandbox.reap(number).is_err()) {
            // Its end, which is under way, is this one's.
            self.on_template_gone(&template);
        }
    }

    pub(super) fn on_server_ended(&mut self, template: &ReplicaId, told: ServerEnded) {
        if self.replicas.get_mut(template).is_some_and(|it| it.sandbox.forget_discarded(told.server)) {
            return;
        }
        let is_it =
            |(_, replica): &(&ReplicaId, &mut super::Replica)| replica.sandbox.is_reaped_as(template, told.server);
        let Some((id, replica)) = self.replicas.iter_mut().find(is_it) else {
            tracing::error!(%template, "a template told the end of a server that it was not asked for");
            return self.on_template_gone(template);
        };
        let (id, cause) = (id.clone(), replica.sandbox.server_ended(told.ended));
        self.on_over(&Whose::Replica(id), cause);
    }

    /// A template ends, and takes its servers with it. Those that are frozen could not, and the template
    /// waits for them in the kernel, if it is not frozen itself, in the group of one of them; so all are
    /// ended from here.
    pub(super) fn on_template_gone(&mut self, template: &ReplicaId) {
        let is_of_it = |(id, replica): &(&ReplicaId, &mut super::Replica)| {
            *id == template || replica.sandbox.template() == Some(template)
        };
        for (id, replica) in self.replicas.iter_mut().filter(is_of_it).filter(|(_, it)| !it.sandbox.is_over()) {
            replica.sandbox.wait_no_more();
            if let Err(error) = replica.sandbox.kill_unasked() {
                tracing::error!(replica = %id, "killing it failed: {}", error_chain::one_line(&error));
            }
        }
    }

    /// Kills what was asked to end and did not in time.
    pub(super) fn kill_what_is_due(&mut self, now: Instant) {
        let mut templates = Vec::new();
        for (whose, sandbox) in self.sandboxes_mut() {
            if sandbox.kill_at().is_none_or(|at| now < at) {
                continue;
            }
            if let Err(error) = sandbox.kill_unasked() {
                tracing::error!(sandbox = sandbox.name(), "killing it failed: {}", error_chain::one_line(&error));
            }
            match whose {
                Whose::Replica(id) if sandbox.forks() => templates.push(id),
                Whose::Replica(_) | Whose::Blank(_) => {}
            }
        }
        for template in templates {
            self.on_template_gone(&template);
        }
    }

    /// No process is left in a template's pid namespace.
    pub(super) fn on_template_over(&mut self, template: &ReplicaId) {
        let lost =
            self.replicas.iter().filter(|(_, it)| it.sandbox.template() == Some(template) && !it.sandbox.is_over());
        for id in lost.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            self.lose_server(&id);
        }
    }

    fn lose_server(&mut self, id: &ReplicaId) {
        let Some(replica) = self.replicas.get_mut(id) else { return };
        let cause = replica.sandbox.template_ended();
        self.on_over(&Whose::Replica(id.clone()), cause);
    }

    pub(super) fn give_up_silent_templates(&mut self, now: Instant) {
        let late = |replica: &super::Replica| {
            let is_due = replica.sandbox.waits_until().is_some_and(|until| now >= until);
            replica.sandbox.template().filter(|_| is_due).cloned()
        };
        let silent: Vec<ReplicaId> = self.replicas.values().filter_map(late).collect();
        for template in silent {
            tracing::error!(%template, "a template does not tell how a server of its ended, and is killed");
            self.on_template_gone(&template);
        }
    }
}

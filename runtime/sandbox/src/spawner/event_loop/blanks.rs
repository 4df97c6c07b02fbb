//! The pool's part of the loop: filling it, and what becomes of a blank.

use std::{collections::BTreeSet, time::Instant};

use super::{Loop, Whose};
use crate::{
    creation::VolumeStores,
    error_chain,
    messages::{Claim, Event, ExitCause, Premade, ReplicaSpec},
    spawner::{
        claim::Claiming, listeners::ListenError, pool::BlankId, replica::Replica, sandbox::Workshop, word::Said,
    },
};

impl<'a> Loop<'a> {
    /// When the next blank is to be made. None before there is a node, which starts first, and none once
    /// the daemon ends.
    pub(super) fn blank_due(&mut self, now: Instant) -> Option<Instant> {
        let is_awaited = self.node.as_ref().is_some_and(|node| node.greeted) && !self.ending.has_begun();
        let has_room = self.replicas.len() + self.pool.blanks.len() < self.spawner.replicas_max;
        if !is_awaited || !has_room {
            return None;
        }
        let calm_from = self.calm_from(now);
        self.pool.due(now, calm_from)
    }

    pub(super) fn fill_pool(&mut self, now: Instant) {
        if self.blank_due(now).is_some_and(|at| now >= at) {
            let workshop = self.workshop();
            let uids = self.uids_of_blanks();
            if let Err(error) = self.pool.begin_one(&workshop, &uids) {
                tracing::warn!("no blank can be made: {}", error_chain::one_line(&error));
                self.pool.failed(now);
            }
        }
        self.tell_blanks();
    }

    /// Nobody wakes anything once the daemon ends, and the node may have closed its channel by then.
    pub(super) fn tell_blanks(&mut self) {
        if self.ending.has_begun() {
            return;
        }
        if let Some(ready) = self.pool.ready_untold() {
            self.tell(Event::Blanks { ready }, None);
        }
    }

    pub(super) fn workshop(&self) -> Workshop<'a> {
        let spawner = self.spawner;
        Workshop {
            instance: spawner.instance,
            groups: spawner.groups,
            store: &spawner.stores.models,
            prepared: &spawner.stores.prepared,
            rootfs: spawner.rootfs,
            seccomp: spawner.seccomp,
            node_gid: spawner.node_user.gid,
            setup_uid: self.uids.range().setup_uid(),
            layers: &spawner.stores.layers,
            image_ids: spawner.image_ids,
            volumes: VolumeStores {
                configs: &spawner.stores.configs,
                disks: &spawner.stores.disks,
                lent: &spawner.settings.lent,
            },
        }
    }

    /// Makes the replica of a blank, if one waits that it can be made of. A blank that turns out to be
    /// none any more is in nobody's way: the next is tried.
    pub(super) fn claim(
        &mut self,
        spec: &ReplicaSpec,
        asked: Instant,
    ) -> Result<Option<(Replica, Claim)>, ListenError> {
        if !self.pool.has_one_for(&spec.limits) {
            return Ok(None);
        }
        let Some(claiming) = Claiming::prepare(&self.workshop(), spec)? else { return Ok(None) };
        while let Some((id, mut blank)) = self.pool.take() {
            match claiming.assign(&mut blank, spec) {
                Ok(()) => {
                    let claim_us = u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX);
                    let replica = Replica::of(spec.clone(), blank, Some(Premade::Blank(id.0)));
                    return Ok(Some((replica, Claim { blank: id.0, claim_us })));
                }
                Err(error) => {
                    tracing::warn!(blank = id.0, "a blank could not be claimed: {}", error_chain::one_line(&error));
                    self.pool.blanks.insert(id, blank);
                    self.end_blank(id);
                }
            }
        }
        Ok(None)
    }

    /// Uids as which what is or was a blank may still run.
    fn uids_of_blanks(&self) -> BTreeSet<u32> {
        let living = self.sandboxes().map(|(_, sandbox)| sandbox.uid());
        living.chain(self.unremoved_uids.iter().copied()).collect()
    }

    pub(super) fn on_blank_said(&mut self, id: BlankId, said: Said) {
        match said {
            Said::Blank => {}
            Said::LoadFailed(reason) => tracing::warn!(blank = id.0, "a blank cannot start: {reason}"),
            // It has no model to be ready with: whatever it is, it is no worker of ours any more.
            Said::Ready(_) | Said::ServerEnded(_) | Said::NothingMore => self.end_blank(id),
        }
    }

    fn end_blank(&mut self, id: BlankId) {
        let Some(blank) = self.pool.blanks.get_mut(&id) else { return };
        if let Err(error) = blank.kill() {
            tracing::error!(blank = id.0, "killing a blank failed: {}", error_chain::one_line(&error));
        }
    }

    /// No process of it is left. Where it was not told to end, the next one waits.
    pub(super) fn on_blank_over(&mut self, id: BlankId, cause: &ExitCause) {
        if !self.ending.has_begun() {
            tracing::warn!(blank = id.0, "a blank ended: {cause}");
            self.pool.failed(Instant::now());
        }
        self.remove(&Whose::Blank(id));
    }
}

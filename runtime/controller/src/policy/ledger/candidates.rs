//! Who may be evicted, and in which order.

use std::collections::BTreeMap;

use dormouse_sandbox::messages::ReplicaId;

use super::{Held, Ledger, Owner, Time, Usage, YIELD_AFTER};

impl Ledger {
    /// Replicas whose memory is at least `missing` together: frozen ones, then idle ones, least
    /// recently used first, then, where `may_end_busy`, those that served longest. None where all
    /// of them would not be enough, so that nothing is evicted in vain.
    pub(super) fn victims(&self, now: Time, missing: u64, may_end_busy: bool) -> Option<Vec<ReplicaId>> {
        let mut spare = self.spare_replicas();
        let mut found = 0_u64;
        let mut victims = Vec::new();
        for (replica, held) in self.by_rank(now, may_end_busy) {
            if found >= missing {
                break;
            }
            let Some(left) = spare.get_mut(&held.owner).filter(|left| **left > 0) else { continue };
            *left -= 1;
            found = found.saturating_add(held.bytes);
            victims.push(replica.clone());
        }
        (found >= missing).then_some(victims)
    }

    fn by_rank(&self, now: Time, may_end_busy: bool) -> Vec<(&ReplicaId, &Held)> {
        let mut ranked: Vec<_> = self
            .held
            .iter()
            .filter_map(|(replica, held)| {
                let rank = match held.usage {
                    Usage::Frozen => (0, held.last_used),
                    Usage::Idle => (1, held.last_used),
                    Usage::Busy if may_end_busy => {
                        (2, held.serving_since.filter(|since| now.since(*since) >= YIELD_AFTER)?)
                    }
                    Usage::Busy | Usage::Starting | Usage::Leaving => return None,
                };
                Some((rank, replica, held))
            })
            .collect();
        ranked.sort_by_key(|(rank, replica, _)| (*rank, (*replica).clone()));
        ranked.into_iter().map(|(_, replica, held)| (replica, held)).collect()
    }

    /// How many replicas each owner could lose and still run those it always must.
    fn spare_replicas(&self) -> BTreeMap<&Owner, u32> {
        let mut spare = BTreeMap::new();
        for held in self.held.values().filter(|held| held.usage != Usage::Leaving) {
            *spare.entry(&held.owner).or_default() += 1;
        }
        for (owner, left) in &mut spare {
            *left = u32::saturating_sub(*left, self.floors.get(*owner).copied().unwrap_or(0));
        }
        spare
    }

    /// The memory of replicas that must always run: of each owner's the largest, as any may be left.
    pub(super) fn protected(&self) -> u64 {
        let of = |owner: &Owner, floor: u32| -> u64 {
            let held = self.held.values().filter(|held| held.owner == *owner && held.usage != Usage::Leaving);
            let mut bytes: Vec<u64> = held.map(|held| held.bytes).collect();
            bytes.sort_unstable_by(|one, other| other.cmp(one));
            bytes.iter().take(floor as usize).sum()
        };
        self.floors.iter().map(|(owner, floor)| of(owner, *floor)).fold(0, u64::saturating_add)
    }
}

//! Who may be evicted, and in which order.

use std::collections::BTreeMap;

use dormouse_sandbox::messages::ReplicaId;

use super::{Held, Ledger, Owner, Time, Usage, YIELD_AFTER};

impl Ledger {
    /// Replicas and templates whose memory is at least `missing` together: frozen ones and templates
    /// without replicas, then idle ones, least recently used first, then, where `may_end_busy`, those that
    /// served longest. A template that is in use goes with the last replica of its owner, where that is
    /// not enough. None where all of them would not be, so that nothing is evicted in vain.
    pub(super) fn victims(&self, now: Time, missing: u64, may_end_busy: bool) -> Option<Vec<ReplicaId>> {
        let mut spare = self.spare_replicas();
        let mut found = 0_u64;
        let mut victims = Vec::new();
        for (replica, held) in self.by_rank(now, may_end_busy) {
            if found >= missing {
                break;
            }
            if held.usage.serves() {
                let Some(left) = spare.get_mut(&held.owner).filter(|left| **left > 0) else { continue };
                *left -= 1;
            }
            found = found.saturating_add(held.bytes);
            victims.push(replica.clone());
            let was_last = spare.get(&held.owner) == Some(&0) && !self.floors.contains_key(&held.owner);
            if found < missing && held.usage.serves() && was_last {
                for (template, held) in self.templates_in_use(&held.owner) {
                    found = found.saturating_add(held.bytes);
                    victims.push(template.clone());
                }
            }
        }
        (found >= missing).then_some(victims)
    }

    fn by_rank(&self, now: Time, may_end_busy: bool) -> Vec<(&ReplicaId, &Held)> {
        let mut ranked: Vec<_> = self
            .held
            .iter()
            .filter_map(|(replica, held)| {
                let rank = match held.usage {
                    Usage::Frozen | Usage::TemplateAlone => (0, held.last_used),
                    Usage::Idle => (1, held.last_used),
                    Usage::Busy if may_end_busy => {
                        (2, held.serving_since.filter(|since| now.since(*since) >= YIELD_AFTER)?)
                    }
                    Usage::Busy | Usage::Starting | Usage::TemplateInUse | Usage::Leaving => return None,
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
        for held in self.held.values().filter(|held| held.usage.serves()) {
            *spare.entry(&held.owner).or_default() += 1;
        }
        for (owner, left) in &mut spare {
            *left = u32::saturating_sub(*left, self.floors.get(*owner).copied().unwrap_or(0));
        }
        spare
    }

    fn templates_in_use(&self, owner: &Owner) -> impl Iterator<Item = (&ReplicaId, &Held)> {
        self.held.iter().filter(move |(_, held)| held.owner == *owner && held.usage == Usage::TemplateInUse)
    }

    /// The memory of replicas that must always run: of each owner's the largest, as any may be left, and
    /// of the templates that they may have been forked from.
    pub(super) fn protected(&self) -> u64 {
        let of = |owner: &Owner, floor: u32| -> u64 {
            let held = self.held.values().filter(|held| held.owner == *owner && held.usage.serves());
            let mut bytes: Vec<u64> = held.map(|held| held.bytes).collect();
            bytes.sort_unstable_by(|one, other| other.cmp(one));
            let replicas: u64 = bytes.iter().take(floor as usize).sum();
            let templates: u64 = self.templates_in_use(owner).map(|(_, held)| held.bytes).sum();
            replicas.saturating_add(templates)
        };
        self.floors.iter().map(|(owner, floor)| of(owner, *floor)).fold(0, u64::saturating_add)
    }
}

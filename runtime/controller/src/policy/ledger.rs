mod candidates;

use std::{collections::BTreeMap, time::Duration};

use dormouse_sandbox::messages::ReplicaId;
use dormouse_spec::{Bytes, EndpointName};

use super::{Time, Usage};

/// A reservation of an endpoint that has nothing at all waits this long for others to become idle;
/// then the replica that served longest must end with the requests it has. It is also the least
/// time a replica serves before that may befall it.
pub(super) const YIELD_AFTER: Duration = Duration::from_secs(2);

/// For whom memory is held.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Owner {
    Endpoint(EndpointName),
    /// The replica a deploy asks for its model's signature. It is never evicted. One of the deploy
    /// before may still be ending, so each is an owner of its own.
    Probe(ReplicaId),
    /// Found at start and wanted by nobody: it is being stopped.
    Stray,
}

/// What the ledger wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Order {
    Grant {
        owner: Owner,
        replica: ReplicaId,
    },
    /// The reservation waits, `short` bytes of memory are missing now.
    Short {
        owner: Owner,
        replica: ReplicaId,
        short: Bytes,
    },
    /// Always obeyed: the replica takes no more requests and ends.
    Evict {
        owner: Owner,
        replica: ReplicaId,
    },
}

#[derive(Debug)]
pub(super) struct Held {
    pub(super) owner: Owner,
    pub(super) bytes: u64,
    pub(super) usage: Usage,
    /// When it last became or ceased to be busy.
    pub(super) last_used: Time,
    /// When it first could serve.
    pub(super) serving_since: Option<Time>,
}

#[derive(Debug)]
pub(super) struct Reservation {
    owner: Owner,
    replica: ReplicaId,
    bytes: u64,
    since: Time,
}

/// Who holds the node's memory, and who waits for it.
///
/// A replica holds its declared limit from before its creation until nothing of it is left, so the
/// sum of what is held never exceeds the budget by a grant. Reservations of endpoints that have
/// nothing come before growth, each first come first served, and nobody overtakes a reservation
/// that waits for what is being freed. One that could not fit beside the replicas that must always
/// run holds up nobody: it waits for its deadline.
///
/// A template holds memory as a replica does, and counts as none: an endpoint that has only a template has
/// nothing.
#[derive(Debug)]
pub(crate) struct Ledger {
    budget: u64,
    pub(super) held: BTreeMap<ReplicaId, Held>,
    waiting: Vec<Reservation>,
    /// How many replicas of an owner must always run; absent is none.
    pub(super) floors: BTreeMap<Owner, u32>,
}

impl Ledger {
    pub(crate) fn new(budget: Bytes) -> Self {
        Self { budget: budget.get(), held: BTreeMap::new(), waiting: Vec::new(), floors: BTreeMap::new() }
    }

    pub(crate) fn used(&self) -> Bytes {
        Bytes::new(self.held.values().map(|held| held.bytes).sum())
    }

    pub(crate) fn set_floor(&mut self, owner: Owner, replicas: u32) {
        if replicas == 0 {
            self.floors.remove(&owner)
        } else {
            self.floors.insert(owner, replicas)
        };
    }

    /// A replica that lives already; it is held whether it fits or not.
    pub(crate) fn adopt(&mut self, now: Time, owner: Owner, replica: ReplicaId, bytes: Bytes, usage: Usage) {
        let serving_since = (usage.serves() && usage != Usage::Starting).then_some(now);
        self.held.insert(replica, Held { owner, bytes: bytes.get(), usage, last_used: now, serving_since });
    }

    /// Asks for memory; granted here and now or later, in turn.
    pub(crate) fn reserve(&mut self, now: Time, owner: Owner, replica: ReplicaId, bytes: Bytes) -> Vec<Order> {
        self.waiting.push(Reservation {
            owner: owner.clone(),
            replica: replica.clone(),
            bytes: bytes.get(),
            since: now,
        });
        let short = bytes.get().saturating_sub(self.free());
        let mut orders = self.settle(now);
        if self.waiting.iter().any(|waiting| waiting.replica == replica) {
            // What is free may be spoken for: then others come first, and all of it is missing.
            let short = Bytes::new(if short == 0 { bytes.get() } else { short });
            orders.push(Order::Short { owner, replica, short });
        }
        orders
    }

    /// Grants memory that is free and that nobody waits for, or says what is missing of it. Nobody is
    /// evicted for it, and it does not wait. What is granted is held as `usage`.
    pub(crate) fn reserve_free(
        &mut self,
        now: Time,
        owner: Owner,
        replica: ReplicaId,
        bytes: Bytes,
        usage: Usage,
    ) -> Order {
        let free = if self.waiting.is_empty() { self.free() } else { 0 };
        let short = bytes.saturating_sub(Bytes::new(free));
        if short > Bytes::default() {
            return Order::Short { owner, replica, short };
        }
        self.adopt(now, owner.clone(), replica.clone(), bytes, usage);
        Order::Grant { owner, replica }
    }

    /// Nothing of the replica is left, or its reservation is taken back.
    pub(crate) fn release(&mut self, now: Time, replica: &ReplicaId) -> Vec<Order> {
        self.held.remove(replica);
        self.waiting.retain(|waiting| waiting.replica != *replica);
        self.settle(now)
    }

    pub(crate) fn report(&mut self, now: Time, replica: &ReplicaId, usage: Usage) -> Vec<Order> {
        let Some(held) = self.held.get_mut(replica) else { return Vec::new() };
        if held.usage.is_busy() != usage.is_busy() {
            held.last_used = now;
        }
        if usage.serves() && usage != Usage::Starting {
            held.serving_since.get_or_insert(now);
        }
        // An eviction was ordered and is obeyed; a report that crossed it changes nothing.
        if held.usage != Usage::Leaving {
            held.usage = usage;
        }
        self.settle(now)
    }

    /// Lets time pass; see [`Self::next_wake`].
    pub(crate) fn tick(&mut self, now: Time) -> Vec<Order> {
        self.settle(now)
    }

    /// When a reservation has waited, or a replica has served, long enough for the one to end the
    /// other.
    pub(crate) fn next_wake(&self, now: Time) -> Option<Time> {
        if self.waiting.is_empty() {
            return None;
        }
        let waited = self.waiting.iter().map(|waiting| waiting.since.after(YIELD_AFTER));
        let served = self.held.values().filter_map(|held| held.serving_since).map(|since| since.after(YIELD_AFTER));
        waited.chain(served).filter(|at| *at > now).min()
    }

    fn free(&self) -> u64 {
        self.budget.saturating_sub(self.used().get())
    }

    fn settle(&mut self, now: Time) -> Vec<Order> {
        let mut orders = Vec::new();
        // Each grant changes who has nothing, and with it the order of the others.
        while let Some(order) = self.grant_next() {
            orders.push(order);
        }
        self.make_room(now, &mut orders);
        orders
    }

    /// Grants to the first in turn, if what is free is enough.
    fn grant_next(&mut self) -> Option<Order> {
        let first = self.in_turn().into_iter().find(|index| self.could_fit(*index))?;
        if self.waiting.get(first)?.bytes > self.free() {
            return None;
        }
        let Reservation { owner, replica, bytes, since } = self.waiting.remove(first);
        let held = Held { owner: owner.clone(), bytes, usage: Usage::Starting, last_used: since, serving_since: None };
        self.held.insert(replica.clone(), held);
        Some(Order::Grant { owner, replica })
    }

    /// Evicts for those that wait, in turn, what is missing beside what is free or being freed.
    fn make_room(&mut self, now: Time, orders: &mut Vec<Order>) {
        let leaving: u64 = self.held.values().filter(|it| it.usage == Usage::Leaving).map(|it| it.bytes).sum();
        let mut coming = self.free().saturating_add(leaving);
        for index in self.in_turn() {
            let Some(waiting) = self.waiting.get(index) else { return };
            if !self.could_fit(index) {
                continue;
            }
            let (bytes, may_end_busy) =
                (waiting.bytes, !self.has_any(&waiting.owner) && now.since(waiting.since) >= YIELD_AFTER);
            if bytes > coming {
                let Some(victims) = self.victims(now, bytes - coming, may_end_busy) else { return };
                for replica in victims {
                    let Some(held) = self.held.get_mut(&replica) else { continue };
                    held.usage = Usage::Leaving;
                    coming = coming.saturating_add(held.bytes);
                    orders.push(Order::Evict { owner: held.owner.clone(), replica });
                }
            }
            coming = coming.saturating_sub(bytes);
        }
    }

    /// Indices of the reservations: those of owners that have nothing first, each in their order.
    fn in_turn(&self) -> Vec<usize> {
        let growth = |index: &usize| self.waiting.get(*index).is_some_and(|waiting| self.has_any(&waiting.owner));
        let (growing, first): (Vec<usize>, Vec<usize>) = (0..self.waiting.len()).partition(growth);
        first.into_iter().chain(growing).collect()
    }

    /// Whether the owner has a replica that serves or will.
    fn has_any(&self, owner: &Owner) -> bool {
        self.held.values().any(|held| held.owner == *owner && held.usage.serves())
    }

    /// Whether the reservation would fit if everything ended that may be ended.
    fn could_fit(&self, index: usize) -> bool {
        let bytes = self.waiting.get(index).map_or(0, |waiting| waiting.bytes);
        bytes.saturating_add(self.protected()) <= self.budget
    }
}

#[cfg(test)]
mod tests;

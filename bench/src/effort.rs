//! How much of everything is done.

use std::time::Duration;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    /// Wakes of each rung and starts of each floor, per model.
    pub(crate) wakes: usize,
    /// Wakes of each rung, per model, while other replicas are claimed and deleted.
    pub(crate) churned: usize,
    /// Endpoints with a replica each that are deleted during one such wake.
    pub(crate) deletes: usize,
    /// Creations of a sandbox, on either side.
    pub(crate) sandboxes: usize,
    /// Requests one at a time, through the daemon and to a bare worker each.
    pub(crate) alone: usize,
    /// Requests one at a time to a server that answers at once: through each proxy, and around it.
    pub(crate) proxied: usize,
    /// How long each rate is held, and how many rates there are at most.
    pub(crate) rate_for: Duration,
    pub(crate) rates_max: usize,
    /// How often each number of replicas is made and looked at.
    pub(crate) densities: usize,
    /// How long an idle node's wake-ups are counted.
    pub(crate) idle: Duration,
    /// Endpoints of the larger of two nodes that serve nobody.
    pub(crate) endpoints: usize,
    /// Times of a listing, and of a deploy.
    pub(crate) listings: usize,
    /// Unpackings of an image, on either side.
    pub(crate) unpackings: usize,
    /// Of a neighbour, alone and beside each kind of bomb.
    pub(crate) rounds: usize,
}

impl Effort {
    pub(crate) const FULL: Self = Self {
        wakes: 30,
        churned: 5,
        deletes: 50,
        sandboxes: 60,
        alone: 300,
        proxied: 4_000,
        rate_for: Duration::from_secs(5),
        rates_max: 16,
        densities: 3,
        idle: Duration::from_secs(30),
        endpoints: 1_000,
        listings: 30,
        unpackings: 5,
        rounds: 5,
    };
    /// That every part works, and no more.
    pub(crate) const QUICK: Self = Self {
        wakes: 3,
        churned: 1,
        deletes: 8,
        sandboxes: 3,
        alone: 20,
        proxied: 100,
        rate_for: Duration::from_secs(1),
        rates_max: 3,
        densities: 1,
        idle: Duration::from_secs(2),
        endpoints: 120,
        listings: 3,
        unpackings: 1,
        rounds: 1,
    };
}

//! The rungs that a wake can start from: how a daemon is set up for each, and how the state is reached.

/// Where the endpoint rests before it is woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// No replica.
    Zero,
    /// One replica, frozen.
    Frozen,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rung {
    pub(super) name: &'static str,
    /// TOML beside what every daemon here has.
    pub(super) configuration: &'static str,
    pub(super) rest: Rest,
    /// What `dormouse why` calls it.
    pub(super) told: &'static str,
}

pub(super) const CREATED: Rung = Rung { name: "zero, created", configuration: "", rest: Rest::Zero, told: "created" };
pub(super) const CLAIMED: Rung =
    Rung { name: "zero, claimed", configuration: "[pool]\nsize = 4", rest: Rest::Zero, told: "claimed" };
pub(super) const FROZEN: Rung = Rung { name: "frozen", configuration: "", rest: Rest::Frozen, told: "frozen" };
pub(super) const TEMPLATE: Rung =
    Rung { name: "template", configuration: "[endpoint]\ntemplate = true", rest: Rest::Zero, told: "template" };

/// In the order in which each round takes them.
pub(super) const RUNGS: [&Rung; 4] = [&CREATED, &CLAIMED, &FROZEN, &TEMPLATE];

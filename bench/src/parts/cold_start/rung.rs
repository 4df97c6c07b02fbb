//! The rungs that a wake can start from: how a daemon is set up for each, and how the state is reached.

use crate::{
    daemon::configuration::{POOL_SIZE, WITH_POOL, WITH_TEMPLATE, WITHOUT_POOL},
    parts::rest::Rest,
};

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rung {
    pub(super) name: &'static str,
    /// Beside what every daemon here has.
    pub(super) configuration: &'static [&'static str],
    pub(super) rest: Rest,
    /// What `dormouse why` calls it, where it is a wake.
    pub(super) told: Option<&'static str>,
    /// Blanks that wait then.
    pub(super) blanks: usize,
}

pub(super) const CREATED: Rung =
    Rung { name: "zero, created", configuration: &[WITHOUT_POOL], rest: Rest::Zero, told: Some("created"), blanks: 0 };
pub(super) const CLAIMED: Rung = Rung {
    name: "zero, claimed",
    configuration: &[WITH_POOL],
    rest: Rest::Zero,
    told: Some("claimed"),
    blanks: POOL_SIZE,
};
pub(super) const FROZEN: Rung =
    Rung { name: "frozen", configuration: &[WITHOUT_POOL], rest: Rest::Frozen, told: Some("frozen"), blanks: 0 };
pub(super) const TEMPLATE: Rung = Rung {
    name: "template",
    configuration: &[WITHOUT_POOL, WITH_TEMPLATE],
    rest: Rest::Zero,
    told: Some("forked"),
    blanks: 0,
};

/// No rung to wake from: what an idle second alone costs the next answer, on caches that others have used since.
pub(super) const AWAKE: Rung =
    Rung { name: "awake", configuration: &[WITHOUT_POOL], rest: Rest::Awake, told: None, blanks: 0 };

/// In the order in which each round takes them.
pub(super) const RUNGS: [&Rung; 5] = [&CREATED, &CLAIMED, &FROZEN, &TEMPLATE, &AWAKE];

//! The rungs that a wake can start from: how a daemon is set up for each, and how the state is reached.

use crate::daemon::{
    EndpointSettings,
    configuration::{POOL_SIZE, WITH_POOL, WITH_TEMPLATE, WITHOUT_POOL},
};

/// Where the endpoint rests before it is woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// No replica.
    Zero,
    /// One replica, frozen.
    Frozen,
}

impl Rest {
    /// Of an endpoint that comes to rest here soon, and stays.
    pub(super) fn settings(self) -> EndpointSettings {
        match self {
            Self::Zero => EndpointSettings::resting("100ms", "200ms"),
            Self::Frozen => EndpointSettings::resting("200ms", "10m"),
        }
    }

    /// The phases of its replicas then.
    pub(super) fn phases(self) -> &'static [&'static str] {
        match self {
            Self::Zero => &[],
            Self::Frozen => &["frozen"],
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rung {
    pub(super) name: &'static str,
    /// Beside what every daemon here has.
    pub(super) configuration: &'static [&'static str],
    pub(super) rest: Rest,
    /// What `dormouse why` calls it.
    pub(super) told: &'static str,
    /// Blanks that wait then.
    pub(super) blanks: usize,
}

pub(super) const CREATED: Rung =
    Rung { name: "zero, created", configuration: &[WITHOUT_POOL], rest: Rest::Zero, told: "created", blanks: 0 };
pub(super) const CLAIMED: Rung =
    Rung { name: "zero, claimed", configuration: &[WITH_POOL], rest: Rest::Zero, told: "claimed", blanks: POOL_SIZE };
pub(super) const FROZEN: Rung =
    Rung { name: "frozen", configuration: &[WITHOUT_POOL], rest: Rest::Frozen, told: "frozen", blanks: 0 };
pub(super) const TEMPLATE: Rung = Rung {
    name: "template",
    configuration: &[WITHOUT_POOL, WITH_TEMPLATE],
    rest: Rest::Zero,
    told: "forked",
    blanks: 0,
};

/// In the order in which each round takes them.
pub(super) const RUNGS: [&Rung; 4] = [&CREATED, &CLAIMED, &FROZEN, &TEMPLATE];

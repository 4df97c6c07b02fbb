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
    /// One replica that has nothing to do.
    Awake,
}

impl Rest {
    /// Of an endpoint that comes to rest here soon, and stays.
    pub(super) fn settings(self) -> EndpointSettings {
        match self {
            Self::Zero => EndpointSettings::resting("100ms", "200ms"),
            Self::Frozen => EndpointSettings::resting("200ms", "10m"),
            Self::Awake => EndpointSettings::resting("9m", "10m"),
        }
    }

    /// The phases of its replicas then.
    pub(super) fn phases(self) -> &'static [&'static str] {
        match self {
            Self::Zero => &[],
            Self::Frozen => &["frozen"],
            Self::Awake => &["ready"],
        }
    }
}

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

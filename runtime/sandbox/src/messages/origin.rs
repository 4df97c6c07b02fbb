//! Where containers come from, and where the time of that goes.

use serde::{Deserialize, Serialize};

/// Where a replica's container came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// It was made for the replica.
    Created(CreatePhases),
    /// It waited as a blank, whose control group keeps its name: [`Premade::name`].
    Claimed(Claim),
    /// It is a fork of its template, in the template's container and in a control group of its own.
    Forked(Fork),
}

impl Origin {
    /// The control group that waited for the replica.
    #[must_use]
    pub fn premade(self) -> Option<Premade> {
        match self {
            Self::Created(_) => None,
            Self::Claimed(claim) => Some(Premade::Blank(claim.blank)),
            Self::Forked(fork) => Some(Premade::Fork(fork.fork)),
        }
    }
}

/// A control group that was made before it was known for which replica, and keeps its name. No replica has such
/// a name, since each ends with two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Premade {
    Blank(u64),
    Fork(u64),
}

impl Premade {
    /// Below the daemon's own group.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Blank(number) => format!("blank-{number}"),
            Self::Fork(number) => format!("fork-{number}"),
        }
    }
}

/// A server that was forked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fork {
    /// Names its control group: [`Premade::name`].
    pub fork: u64,
    /// From the request's arrival until the template could read its order, in microseconds.
    pub order_us: u64,
}

/// A blank that became a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    pub blank: u64,
    /// From the request's arrival until the worker could read its assignment, in microseconds.
    pub claim_us: u64,
}

/// Where the time of a creation went, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreatePhases {
    /// From the request's arrival to the creation child's first instruction.
    pub fork_us: u64,
    /// Control groups made, limited and joined, device policy applied and read back.
    pub cgroup_us: u64,
    /// libcontainer: namespaces, mounts, root, seccomp.
    pub container_us: u64,
    /// What is in force looked at from outside, payload released.
    pub release_us: u64,
}

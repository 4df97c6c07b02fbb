//! Where the replicas of a test come from.

use crate::{Daemon, Home, processes, scripted, wait::until_true};

/// Says the round of tests that name none, to run a whole suite in another one.
const VARIABLE: &str = "DORMOUSE_TEST_ROUND";
/// How many blanks a daemon keeps whose replicas are claimed.
const BLANKS: u32 = 2;
/// The limit of each, by default.
const BLANK_MEBIBYTES: u32 = 32;
/// Longer than any test.
const KEEP_TEMPLATE: &str = "\"10m\"";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Round {
    /// A container is made for each.
    Created,
    /// Each is a container that waited.
    Claimed,
    /// Each is a fork of its endpoint's template.
    Forked,
    /// A container is made for each, of an image whose program does what the worker would.
    Image,
}

impl Round {
    pub(crate) fn of_environment() -> Self {
        match std::env::var(VARIABLE).as_deref() {
            Err(_) | Ok("created") => Self::Created,
            Ok("claimed") => Self::Claimed,
            Ok("forked") => Self::Forked,
            Ok(other) => panic!("{VARIABLE} is {other}, and not created, claimed or forked"),
        }
    }

    pub(crate) fn configure(self, home: Home) -> Home {
        let blanks = if self == Self::Claimed { BLANKS } else { 0 };
        let keep = if self == Self::Forked { KEEP_TEMPLATE } else { "\"0s\"" };
        let home = home.set("pool", "size", &blanks.to_string()).endpoint("keep_template", keep);
        if self == Self::Image { scripted::lend_scripts(home) } else { home }
    }

    /// Of memory, with what blanks take, or a template for each replica.
    pub(crate) fn budget(self, replicas_mebibytes: u32) -> u32 {
        match self {
            Self::Created | Self::Image => replicas_mebibytes,
            Self::Claimed => replicas_mebibytes + BLANKS * BLANK_MEBIBYTES,
            Self::Forked => 2 * replicas_mebibytes,
        }
    }

    /// What a wake is called that began with nothing.
    #[must_use]
    pub fn rung(self) -> &'static str {
        match self {
            Self::Created | Self::Image => "created",
            Self::Claimed => "claimed",
            Self::Forked => "forked",
        }
    }

    /// What a request is told whose time is up while a replica has it.
    #[must_use]
    pub fn late(self) -> &'static str {
        match self {
            Self::Created | Self::Claimed | Self::Forked => "the deadline passed in the inference",
            Self::Image => "the deadline passed in the replica",
        }
    }

    /// Waits until the next replica will be one of this round.
    pub(crate) fn prepare(self, daemon: &Daemon) {
        if self == Self::Claimed {
            let size: f64 = daemon.home().setting("pool", "size").parse().unwrap();
            until_true("the pool is full", || daemon.metrics().sum("dormouse_blanks_ready", &[]) == size);
        }
    }

    /// Sees that replicas were of this round. A node process counts only its own, so that one of its
    /// successors proves nothing.
    pub(crate) fn prove(self, daemon: &Daemon, first_node: i32) {
        let counts = |name: &str| daemon.metrics().sum(name, &[]) > 0.0;
        if processes::child(daemon.pid(), "node") == Some(first_node) {
            let is_proven = match self {
                // What is deployed in this round is an image or refused.
                Self::Created | Self::Image => true,
                Self::Claimed => counts("dormouse_claim_seconds_count"),
                Self::Forked => counts("dormouse_fork_seconds_count") || daemon.log().contains("a template failed"),
            };
            assert!(is_proven, "no replica was {self:?}");
        }
    }
}

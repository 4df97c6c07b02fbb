//! What a wake was: from where, for whom, how it ended, and where its time went.

use std::time::Duration;

use dormouse_sandbox::messages::{Origin, ReplicaId};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// From where a replica was woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rung {
    /// From nothing: its container was made for it.
    Created,
    /// From nothing: a container that waited for a model became it.
    Claimed,
    /// From the endpoint's template, which had the model loaded.
    Forked,
    /// It was frozen.
    Frozen,
}

impl Rung {
    pub(crate) const ALL: [Self; 4] = [Self::Created, Self::Claimed, Self::Forked, Self::Frozen];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Claimed => "claimed",
            Self::Forked => "forked",
            Self::Frozen => "frozen",
        }
    }

    /// What giving the replica its container is called.
    pub(crate) fn container(self) -> WakePhase {
        match self {
            Self::Claimed => WakePhase::Claim,
            Self::Forked => WakePhase::Fork,
            Self::Created | Self::Frozen => WakePhase::Create,
        }
    }

    /// Whether the worker got ONNX Runtime ready after it was asked for.
    pub(crate) fn waits_for_runtime(self) -> bool {
        match self {
            Self::Created => true,
            Self::Claimed | Self::Forked | Self::Frozen => false,
        }
    }
}

impl From<Origin> for Rung {
    fn from(origin: Origin) -> Self {
        match origin {
            Origin::Created(_) => Self::Created,
            Origin::Claimed(_) => Self::Claimed,
            Origin::Forked(_) => Self::Forked,
        }
    }
}

/// What asked for a wake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Asked {
    Request,
    /// The least number of replicas that the endpoint's settings want.
    MinReplicas,
}

/// One part of a wake's time. They follow each other in this order, and nothing lies between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WakePhase {
    /// From the head of the request that asked, until there was memory for a replica.
    Queue,
    /// Until the template had the model loaded, or was given up.
    Template,
    /// Until the container was there and its program was released.
    Create,
    /// Until a container that waited had its assignment.
    Claim,
    /// Until the template had its order.
    Fork,
    /// Until the frozen replica ran.
    Thaw,
    /// Until the program's first instruction, and messages: what the next three leave of the time until
    /// the replica said that it is ready. Of a process of an image, until it was seen to take requests.
    Start,
    /// Until ONNX Runtime could be used, as the replica says.
    Runtime,
    /// Until the model's bytes were at hand, as the replica says.
    Model,
    /// Until a session could run them, as the replica says.
    Session,
    /// Ready, until the beginning of the request's body was here.
    Body,
    /// From when the request had its replica, until the head of the answer.
    FirstInference,
}

impl WakePhase {
    /// In their order.
    pub const ALL: [Self; 12] = [
        Self::Queue,
        Self::Template,
        Self::Create,
        Self::Claim,
        Self::Fork,
        Self::Thaw,
        Self::Start,
        Self::Runtime,
        Self::Model,
        Self::Session,
        Self::Body,
        Self::FirstInference,
    ];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Template => "template",
            Self::Create => "create",
            Self::Claim => "claim",
            Self::Fork => "fork",
            Self::Thaw => "thaw",
            Self::Start => "start",
            Self::Runtime => "runtime",
            Self::Model => "model",
            Self::Session => "session",
            Self::Body => "body",
            Self::FirstInference => "first-inference",
        }
    }
}

/// How a wake ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum WakeOutcome {
    /// The request that it was for was answered, be it with an error of the model.
    Answered,
    /// Ready for whoever comes, as it was to be.
    Ready,
    /// Whoever asked was gone before.
    Unused,
    /// The first request got no answer: its client went away, its time was up, or the replica broke off.
    Unanswered,
    Failed {
        cause: String,
    },
}

/// A wake that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WakeView {
    pub replica: ReplicaId,
    pub rung: Rung,
    pub asked: Asked,
    pub began: Instant,
    /// In their order; those that the wake did not come to, or that its rung has not, are not there.
    pub phases: Vec<(WakePhase, Duration)>,
    /// Where its container came from, and where the time of that went.
    pub origin: Option<Origin>,
    /// From the head of the request that asked to the head of its answer, or to where it ended.
    pub total: Duration,
    pub outcome: WakeOutcome,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn labels_of_metrics_are_what_the_admin_api_says() {
        for rung in Rung::ALL {
            assert_eq!(json!(rung), json!(rung.name()));
        }
        for phase in WakePhase::ALL {
            assert_eq!(json!(phase), json!(phase.name()));
        }
    }
}

//! The fields and annotations of Knative Serving's types that this runtime does not honour.

use super::known::{Known, Plain, ignored, refused};

pub(super) const REVISION_METADATA: &[Known] =
    &[ignored("revisions are numbered, and have no names", &["generateName", "name", "namespace"])];

pub(super) const REVISION: &[Known] = &[ignored(
    "`timeoutSeconds` bounds the whole of a request",
    &["idleTimeoutSeconds", "responseStartTimeoutSeconds"],
)];

pub(super) const TRAFFIC: &[Known] = &[
    refused("the latest revision takes all traffic", &["configurationName", "revisionName"]),
    refused("an endpoint has one address: not yet", &["tag"]).unless(Plain::Text("")),
    ignored("it is written by a cluster's API server", &["url"]),
];

/// Annotations of a revision that say what a field of an endpoint says: minReplicas and maxReplicas.
pub(super) const MIN_SCALE: [&str; 2] = ["autoscaling.knative.dev/min-scale", "autoscaling.knative.dev/minScale"];
pub(super) const MAX_SCALE: [&str; 2] = ["autoscaling.knative.dev/max-scale", "autoscaling.knative.dev/maxScale"];

/// Annotations of a revision that have a near relation here, and why they are not it.
pub(super) const ANNOTATIONS: &[Known] = &[
    ignored(
        "replicas are added where `containerConcurrency` leaves no room",
        &[
            "autoscaling.knative.dev/metric",
            "autoscaling.knative.dev/target",
            "autoscaling.knative.dev/target-utilization-percentage",
            "autoscaling.knative.dev/targetUtilizationPercentage",
        ],
    ),
    ignored(
        "idle replicas end after the annotation `dormouse.dev/zero-after`, which counts from the last request",
        &[
            "autoscaling.knative.dev/scale-down-delay",
            "autoscaling.knative.dev/scale-to-zero-pod-retention-period",
            "autoscaling.knative.dev/scaleDownDelay",
            "autoscaling.knative.dev/scaleToZeroPodRetentionPeriod",
            "autoscaling.knative.dev/window",
        ],
    ),
    ignored(
        "a replica has the time of `dormouse.dev/start-deadline` to become ready",
        &["serving.knative.dev/progress-deadline"],
    ),
];

/// Where a container is told to listen.
pub(super) const PORT_VARIABLE: &str = "PORT";
/// Variables that every container is given, whatever else it is given.
pub(super) const RESERVED_VARIABLES: [&str; 3] = ["K_CONFIGURATION", "K_REVISION", "K_SERVICE"];

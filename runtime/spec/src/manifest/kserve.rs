//! The fields of KServe's types that this runtime does not honour, and those of Kubernetes' that it
//! does not honour beside a model.

use super::known::{Known, ignored, refused};

pub(super) const SPEC: &[Known] = &[
    refused("only a predictor is served; answers would lack this step", &["explainer", "transformer"]),
    refused("one revision takes all traffic", &["canary"]),
];

/// Fields of a predictor that are KServe's own.
pub(super) const COMPONENT: &[Known] = &[
    refused(
        "write the predictor as `model` with `modelFormat: {name: onnx}`",
        &["huggingface", "lightgbm", "onnx", "paddle", "pmml", "pytorch", "sklearn", "tensorflow", "triton", "xgboost"],
    ),
    refused("one revision takes all traffic", &["canary", "canaryTrafficPercent"]),
    refused("one model with one `storageUri` is served", &["storageUris"]),
    refused("a replica runs on one node", &["workerSpec"]),
    refused("memory is not encrypted here", &["confidential"]),
    ignored(
        "replicas are added by the requests that wait and run",
        &["autoScaling", "scaleMetric", "scaleMetricType", "scaleTarget"],
    ),
    ignored("requests and answers are not sent to a log sink", &["logger"]),
    ignored("requests are not put together into batches", &["batcher"]),
    ignored("the new revision starts before the old one drains", &["deploymentStrategy"]),
    ignored("storage is read by whoever deploys", &["storageContainerName"]),
];

/// The pod's fields of a predictor that has a model.
pub(super) const POD_OF_MODEL: &[Known] = &[
    refused("the built-in ONNX worker is the only program of a replica", &["ephemeralContainers", "initContainers"]),
    refused("replicas get no devices", &["resourceClaims"]),
    ignored("the drain is bounded by the annotation `dormouse.dev/drain-deadline`", &["terminationGracePeriodSeconds"]),
    ignored("`spec.predictor.model.resources.limits` is what bounds a replica", &["overhead", "resources"]),
    ignored(
        "nothing is pulled and no service account exists",
        &["automountServiceAccountToken", "imagePullSecrets", "serviceAccount", "serviceAccountName"],
    ),
    ignored(
        SANDBOX,
        &[
            "hostIPC",
            "hostNetwork",
            "hostPID",
            "hostUsers",
            "runtimeClassName",
            "securityContext",
            "shareProcessNamespace",
        ],
    ),
    ignored(FILES, &["volumes"]),
    ignored(
        "a replica has no network and no name in it",
        &[
            "dnsConfig",
            "dnsPolicy",
            "enableServiceLinks",
            "hostAliases",
            "hostname",
            "hostnameOverride",
            "setHostnameAsFQDN",
            "subdomain",
        ],
    ),
    ignored("a failed replica is restarted with growing pauses", &["activeDeadlineSeconds", "restartPolicy"]),
    ignored(
        "there is one node and nothing to schedule",
        &[
            "affinity",
            "evictionResponders",
            "nodeName",
            "nodeSelector",
            "os",
            "preemptionPolicy",
            "priority",
            "priorityClassName",
            "readinessGates",
            "schedulerName",
            "schedulingGates",
            "schedulingGroup",
            "tolerations",
            "topologySpreadConstraints",
            "workloadRef",
        ],
    ),
];

pub(super) const MODEL: &[Known] = &[
    refused("the built-in ONNX worker is what serves", &["command", "image", "runtime", "runtimeVersion"]),
    refused("write `storageUri: file:///path`", &["storage"]),
    refused("replicas get no devices", &["volumeDevices"]),
    ignored("the built-in ONNX worker takes no arguments and no environment", &["args", "env", "envFrom"]),
    ignored("a replica has no name of its own", &["name"]),
    ignored(SANDBOX, &["securityContext"]),
    ignored(FILES, &["volumeMounts"]),
    ignored("a replica has no network; requests reach it through the gateway", &["ports"]),
    ignored(
        "the worker says when it is ready, and its end is noticed at once",
        &["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"],
    ),
    ignored("a failed replica is restarted with growing pauses", &["restartPolicy", "restartPolicyRules"]),
    ignored("limits change with a new revision", &["resizePolicy"]),
    ignored(
        "the built-in ONNX worker has no use for it",
        &[
            "imagePullPolicy",
            "stdin",
            "stdinOnce",
            "terminationMessagePath",
            "terminationMessagePolicy",
            "tty",
            "workingDir",
        ],
    ),
];

pub(super) const MODEL_FORMAT: &[Known] =
    &[ignored("the model file itself says which operator sets it needs", &["version"])];

/// Annotations under these domains, or under a domain below one of them, steer a cluster.
pub(super) const ANNOTATION_DOMAINS: [&str; 2] = ["kserve.io", "knative.dev"];
pub(super) const ANNOTATION_REASON: &str = "it steers a KServe or Knative cluster";

/// Ignoring it would run what was asked to be stopped.
pub(super) const STOP_ANNOTATION: &str = "serving.kserve.io/stop";

const SANDBOX: &str = "every replica runs in the same sandbox, without capabilities, devices or a network";
const FILES: &str = "a replica sees its model and nothing else of the node's files";

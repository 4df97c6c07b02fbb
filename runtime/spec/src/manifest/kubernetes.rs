//! The fields of Kubernetes' types that this runtime does not honour where a container is run, and
//! those of resources, which models have too.

mod volumes;

use super::known::{FALSE, Known, Plain, ignored, refused};

pub(super) use volumes::{EMPTY_DIR, FIELD_REF, PROJECTED_SOURCE, VALUE_FROM, VOLUME, VOLUME_MOUNT};

pub(super) const ROOT: &[Known] = &[ignored("the status is written by the server", &["status"])];

pub(super) const METADATA: &[Known] = &[
    refused("an endpoint has the name it is given; write `name`", &["generateName"]),
    ignored(
        "it is written by a cluster's API server",
        &[
            "creationTimestamp",
            "deletionGracePeriodSeconds",
            "deletionTimestamp",
            "finalizers",
            "generation",
            "managedFields",
            "ownerReferences",
            "resourceVersion",
            "selfLink",
            "uid",
        ],
    ),
];

pub(super) const POD_SPEC: &[Known] = &[
    refused("one container is run, and nothing before it: not yet", &["ephemeralContainers", "initContainers"]),
    refused("a replica that ends is always started again", &["restartPolicy"]).unless(Plain::Text("Always")),
    refused("every replica has namespaces of its own", &["hostIPC", "hostNetwork", "hostPID", "shareProcessNamespace"])
        .unless(FALSE),
    ignored("every replica has a user namespace of its own", &["hostUsers"]).unless(FALSE),
    refused(DEVICES, &["resourceClaims"]),
    ignored("the `resources.limits` of the container are what bounds a replica", &["overhead", "resources"]),
    ignored("a replica ends when it is idle, and after no other time", &["activeDeadlineSeconds"]),
    ignored("no service account exists", &["automountServiceAccountToken"]).unless(FALSE),
    ignored("no service account exists", &["serviceAccount", "serviceAccountName"]),
    ignored("images are pulled with the credentials of whoever deploys", &["imagePullSecrets"]),
    ignored("every replica runs in the same sandbox", &["runtimeClassName"]),
    ignored("there are no services to link", &["enableServiceLinks"]).unless(FALSE),
    ignored(NETWORK, &["dnsConfig", "dnsPolicy", "hostAliases", "hostname", "hostnameOverride", "subdomain"]),
    ignored(NETWORK, &["setHostnameAsFQDN"]).unless(FALSE),
    ignored(
        "there is one node and nothing to schedule",
        &[
            "affinity",
            "evictionResponders",
            "nodeName",
            "nodeSelector",
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

pub(super) const CONTAINER: &[Known] = &[
    refused(DEVICES, &["volumeDevices"]),
    refused("a replica that ends is always started again", &["restartPolicy"]).unless(Plain::Text("Always")),
    refused("a replica that ends is always started again", &["restartPolicyRules"]),
    ignored("an image is pulled when it is deployed and not here", &["imagePullPolicy"])
        .unless(Plain::Text("IfNotPresent")),
    ignored("limits change with a new revision", &["resizePolicy"]),
    ignored("standard input is at its end, and there is no terminal", &["stdin", "stdinOnce", "tty"]).unless(FALSE),
    ignored(
        "what a container prints is its log, and its end is told by its status",
        &["terminationMessagePath", "terminationMessagePolicy"],
    ),
];

pub(super) const LIFECYCLE: &[Known] = &[
    refused("nothing is run in a container beside its process: not yet", &["postStart"]),
    ignored("a replica is told to end only once its requests are answered", &["preStop"]),
    ignored("it is sent the signal that its image names", &["stopSignal"]),
];

pub(super) const PORT: &[Known] = &[
    refused("HTTP is spoken, over TCP", &["protocol"]).unless(Plain::Text("TCP")),
    ignored("requests reach a replica through the gateway", &["hostIP", "hostPort"]),
];

pub(super) const POD_SECURITY: &[Known] = &[
    refused("a process has the groups that its image gives its user: others not yet", &["supplementalGroups"]),
    refused("the kernel's settings are the node's", &["sysctls"]),
    ignored("files of volumes belong to who runs the process", &["fsGroup", "fsGroupChangePolicy"]),
    ignored("a process has the groups that its image gives its user", &["supplementalGroupsPolicy"])
        .unless(Plain::Text("Merge")),
    ignored(SECURITY_MODULES, &["appArmorProfile", "seLinuxChangePolicy", "seLinuxOptions", "windowsOptions"]),
];

pub(super) const SECURITY: &[Known] = &[
    refused("no replica is privileged", &["privileged"]).unless(FALSE),
    ignored("no process gains privileges: set-user-id bits have no effect", &["allowPrivilegeEscalation"])
        .unless(FALSE),
    ignored("the same of /proc is hidden from every replica", &["procMount"]).unless(Plain::Text("Default")),
    ignored(SECURITY_MODULES, &["appArmorProfile", "seLinuxOptions", "windowsOptions"]),
];

/// What a container's root has, within its own user namespace; other users have none.
pub(super) const CAPABILITIES_OF_ROOT: [&str; 9] =
    ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE", "SETGID", "SETPCAP", "SETUID"];
pub(super) const ADD_REASON: &str = "a container's root has CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, NET_BIND_SERVICE, \
                                     SETGID, SETPCAP and SETUID, and never more";
pub(super) const DROP_REASON: &str = "a process that begins as root keeps some within its own user namespace; with \
                                      `runAsUser` or `runAsNonRoot` it has none";

pub(super) const SECCOMP: &[Known] = &[
    ignored("every replica has the same filter of system calls", &["type"]).unless(Plain::Text("RuntimeDefault")),
    ignored("every replica has the same filter of system calls", &["localhostProfile"]),
];

pub(super) const PROBE: &[Known] =
    &[ignored("a replica that is ended for its probe has two seconds", &["terminationGracePeriodSeconds"])];

pub(super) const HTTP_GET: &[Known] = &[
    refused("only the replica itself is asked", &["host"]),
    refused("only HTTP is spoken to a replica", &["scheme"]).unless(Plain::Text("HTTP")),
    refused("only HTTP/1.1 is spoken to a replica", &["protocol"]).unless(Plain::Text("HTTP1")),
];

pub(super) const TCP_SOCKET: &[Known] = &[refused("only the replica itself is asked", &["host"])];

pub(super) const OS: &[Known] = &[refused("images of Linux are run", &["name"]).unless(Plain::Text("linux"))];

pub(super) const RESOURCES: &[Known] = &[refused(DEVICES, &["claims"])];
pub(super) const SECRET_TYPE_REASON: &str = "its data are taken as they are, whatever its type means to a cluster";
pub(super) const REQUESTS_REASON: &str = "the node sets aside what `limits` says";

/// Beside a model: a container's is honoured.
pub(super) const LIMITS_OF_MODEL: &[Known] = &[ignored(
    "a replica writes to its /tmp only; its size is the annotation `dormouse.dev/tmp`",
    &["ephemeral-storage"],
)];

/// Resources that are given in whole devices, or not at all.
pub(super) const DEVICES: &str = "replicas get no devices";
pub(super) const HUGE_PAGES_REASON: &str = "huge pages are not set aside";

const SECURITY_MODULES: &str = "replicas are confined by namespaces, a filter of system calls and limits";
const NETWORK: &str = "the network of a replica is empty, or what the annotation `dormouse.dev/network` says: no name in it is \
                       the pod's";

//! The fields of volumes, and of variables that are taken from elsewhere.

use super::super::known::{Known, Plain, ignored, refused};

pub(in super::super) const VALUE_FROM: &[Known] =
    &[refused("no variable is read from a file: not yet; write `value`, or a ConfigMap beside", &["fileKeyRef"])];

pub(in super::super) const FIELD_REF: &[Known] =
    &[refused("the fields of `v1` are meant", &["apiVersion"]).unless(Plain::Text("v1"))];

pub(in super::super) const VOLUME: &[Known] = &[
    refused(
        "there are no claims here: write `hostPath` for a directory of the node that stays, or `emptyDir`",
        &["ephemeral", "persistentVolumeClaim"],
    ),
    refused("files of another image are not mounted: not yet; copy them into the image", &["image"]),
    refused("nothing is cloned: clone it on the node and write `hostPath`", &["gitRepo"]),
    refused(
        "no storage is attached: mount it on the node and write `hostPath`",
        &[
            "awsElasticBlockStore",
            "azureDisk",
            "azureFile",
            "cephfs",
            "cinder",
            "csi",
            "fc",
            "flexVolume",
            "flocker",
            "gcePersistentDisk",
            "glusterfs",
            "iscsi",
            "nfs",
            "photonPersistentDisk",
            "portworxVolume",
            "quobyte",
            "rbd",
            "scaleIO",
            "storageos",
            "vsphereVolume",
        ],
    ),
];

pub(in super::super) const EMPTY_DIR: &[Known] = &[ignored("everybody may write to it", &["mode"])];

pub(in super::super) const PROJECTED_SOURCE: &[Known] = &[refused(
    "no cluster is there that would issue it: write a Secret with what is needed",
    &["clusterTrustBundle", "podCertificate", "serviceAccountToken"],
)];

pub(in super::super) const VOLUME_MOUNT: &[Known] = &[
    refused(
        "nothing is promised of what the node has mounted below: not yet; write `readOnly`",
        &["recursiveReadOnly"],
    )
    .unless(Plain::Text("Disabled")),
    refused("variables are not looked up in it: write `subPath`", &["subPathExpr"]).unless(Plain::Text("")),
    refused("mounts are not handed on: leave it out", &["mountPropagation"]).unless(Plain::Text("None")),
    ignored("it is mounted as in every replica", &["bindMountOptions"]),
];

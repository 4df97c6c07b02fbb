//! What is refused of variables that are taken from elsewhere.

use super::super::{container::POD, not_honoured::check, objects::OBJECTS, *};

const REFUSED: &[(&str, &str, &str, &str)] = &[
    (
        "env: [{name: A, value: a, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}]",
        "",
        ".env[0].valueFrom",
        "has a `value` too",
    ),
    ("env: [{name: A, valueFrom: {}}]", "", ".env[0].valueFrom", "write one of configMapKeyRef, fieldRef"),
    ("env: [{name: A, valueFrom: {fieldRef: {}}}]", "", ".valueFrom.fieldRef", "`fieldPath` is missing"),
    ("env: [{name: A, valueFrom: {fieldRef: {}, secretKeyRef: {}}}]", "", ".secretKeyRef", "a `fieldRef` too"),
    (
        "env: [{name: A, valueFrom: {secretKeyRef: {name: a, key: b}}}]",
        "",
        ".secretKeyRef.name",
        "no Secret of this name",
    ),
    ("env: [{name: A, valueFrom: {secretKeyRef: {name: a}}}]", "", ".valueFrom.secretKeyRef", "`key` is missing"),
    (
        "env: [{name: A, valueFrom: {configMapKeyRef: {name: a, key: b}}}]",
        "",
        ".configMapKeyRef.name",
        "in the same file",
    ),
    ("env: [{name: A, valueFrom: {configMapKeyRef: {name: a, kye: b}}}]", "", ".configMapKeyRef", "`key` is missing"),
    ("env: [{name: A, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}]", "", ".fieldPath", "which node"),
    ("env: [{name: A, valueFrom: {fieldRef: {fieldPath: status.hostIP}}}]", "", ".fieldPath", "which node"),
    ("env: [{name: A, valueFrom: {fieldRef: {fieldPath: status.podIP}}}]", "", ".fieldPath", "no address"),
    (
        "env: [{name: A, valueFrom: {fieldRef: {fieldPath: spec.serviceAccountName}}}]",
        "",
        ".fieldPath",
        "service account",
    ),
    ("env: [{name: A, valueFrom: {fieldRef: {fieldPath: metadata.uid}}}]", "", ".fieldPath", "no uid"),
    (
        "env: [{name: A, valueFrom: {fieldRef: {fieldPath: metadata.labels}}}]",
        "",
        ".fieldPath",
        "metadata.labels['KEY']",
    ),
    ("env: [{name: A, valueFrom: {fieldRef: {fieldPath: status.phase}}}]", "", ".fieldPath", "only metadata.name"),
    ("env: [{name: A, valueFrom: {fieldRef: {fieldPath: \"spec.a['b']\"}}}]", "", ".fieldPath", "only metadata.name"),
    (
        "env: [{name: A, valueFrom: {fieldRef: {fieldPath: \"metadata.labels['serving.knative.dev/service']\"}}}]",
        "",
        ".fieldPath",
        "a cluster writes it",
    ),
    ("env: [{name: A, valueFrom: {resourceFieldRef: {}}}]", "", ".resourceFieldRef", "`resource` is missing"),
    ("env: [{name: A, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}]", "", ".resource", "`resources.limits`"),
    (
        "env: [{name: A, valueFrom: {resourceFieldRef: {resource: requests.cpu}}}]",
        "",
        ".resource",
        "`resources.limits`",
    ),
    (
        "env: [{name: A, valueFrom: {resourceFieldRef: {resource: limits.pods}}}]",
        "",
        ".resource",
        "`ephemeral-storage`",
    ),
    (
        "env: [{name: A, valueFrom: {resourceFieldRef: {resource: limits.hugepages-2Mi}}}]",
        "",
        ".resource",
        "huge pages",
    ),
    (
        "env: [{name: A, valueFrom: {resourceFieldRef: {resource: limits.cpu, divisor: 1Mi}}}]",
        "",
        ".resourceFieldRef.divisor",
        "a divisor is one of 1, 1m",
    ),
    (
        "env: [{name: A, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 2}}}]",
        "",
        ".resourceFieldRef.divisor",
        "a divisor is one of 1, 1k",
    ),
    (
        "env: [{name: A, valueFrom: {resourceFieldRef: {resource: limits.cpu, containerName: other}}}]",
        "",
        ".containerName",
        "no container of this name",
    ),
    ("envFrom: [{configMapRef: {name: a}}]", "", ".envFrom[0].configMapRef.name", "no ConfigMap of this name"),
    ("envFrom: [{secretRef: {optional: true}}]", "", ".envFrom[0].secretRef", "`name` is missing"),
    ("envFrom: [{prefix: a}]", "", ".envFrom[0]", "`configMapRef` is missing"),
    ("envFrom: [{prefix: 1a, secretRef: {name: a}}]", "", ".envFrom[0].prefix", "no variable's name begins"),
    ("envFrom: [{configMapRef: {name: a}, secretRef: {name: a}}]", "", ".envFrom[0].secretRef", "two items"),
    ("envFrom: {configMapRef: {name: a}}", "", ".envFrom", "expected a list"),
];

#[test]
fn what_cannot_be_honoured_is_an_error_that_names_the_field() {
    check(REFUSED);
    for (env, path, reason) in [
        ("secretKeyRef: {name: settings.v1, key: raw}", ".secretKeyRef.key", "no UTF-8"),
        ("secretKeyRef: {name: settings.v1, key: none}", ".secretKeyRef.key", "the Secret has no such key"),
        ("configMapKeyRef: {name: settings.v1, key: blob}", ".configMapKeyRef.key", "`binaryData`"),
    ] {
        let pod = POD.with(&format!("env: [{{name: A, valueFrom: {{{env}}}}}]"), "");
        let error = parse(&format!("{pod}---\n{OBJECTS}")).unwrap_err().to_string();
        assert!(error.contains(path) && error.contains(reason), "{error}");
    }
    let all =
        parse(&format!("{}---\n{OBJECTS}", POD.with("envFrom: [{secretRef: {name: settings.v1}}]", ""))).unwrap_err();
    assert!(all.to_string().contains(".envFrom[0]: not supported: what `raw` holds is no UTF-8"), "{all}");
    let nul = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {A: \"hunter2\\0\"}\n";
    let nul = parse(&format!("{}---\n{nul}", POD.with("envFrom: [{secretRef: {name: a}}]", ""))).unwrap_err();
    assert!(nul.to_string().contains("NUL") && !format!("{nul:?}").contains("hunter2"), "{nul}");
}

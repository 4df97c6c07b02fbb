//! Every field that is known and not honoured is met where its type is, and nowhere taken before.

use super::{
    super::{
        knative,
        known::{Known, Treatment},
        kserve, kubernetes,
    },
    container::{FORMS, KNATIVE, KSERVE, POD},
    *,
};

/// A value that is no field's own, so that it says nothing that is done anyway.
const STRANGE: &str = "{strange: value}";

fn check(table: &[Known], place: impl Fn(&str) -> String) {
    assert!(!table.is_empty());
    for (group, name) in table.iter().flat_map(|group| group.names.iter().map(move |name| (group, name))) {
        let text = place(&format!("{name}: {STRANGE}"));
        let named = |path: &str| path == *name || path.ends_with(&format!(".{name}"));
        match (group.treatment, parse(&text)) {
            (Treatment::Ignored, Ok(manifests)) => {
                let noted = manifests[0].notes.iter().any(|note| match note {
                    Note::Ignored { path, reason } => named(path) && reason == group.reason,
                    Note::Differs { .. } => false,
                });
                assert!(noted, "{name}: {:?}", manifests[0].notes);
            }
            (Treatment::Refused, Err(ManifestError::Field { path, problem, .. })) => {
                assert!(named(&path), "{name}: {path}");
                assert_eq!(*problem, Problem::Unsupported(group.reason.to_owned()), "{name}");
            }
            (treatment, result) => panic!("{name} is to be {treatment:?}: {result:?}\n{text}"),
        }
    }
}

#[test]
fn of_a_pod_and_its_container() {
    for form in FORMS {
        let container = |table, lines: &str| {
            check(table, |field| form.with(&lines.replace("FIELD", field), ""));
        };
        check(kubernetes::POD_SPEC, |field| form.with("", field));
        check(kubernetes::POD_SECURITY, |field| form.with("", &format!("securityContext: {{{field}}}")));
        check(kubernetes::OS, |field| form.with("", &format!("os: {{{field}}}")));
        check(kubernetes::VOLUME, |field| form.with("", &format!("volumes: [{{name: a, {field}}}]")));
        check(kubernetes::EMPTY_DIR, |field| form.with("", &format!("volumes: [{{name: a, emptyDir: {{{field}}}}}]")));
        check(kubernetes::PROJECTED_SOURCE, |field| {
            form.with(
                "",
                &format!("volumes: [{{name: a, projected: {{sources: [{{configMap: {{name: a}}, {field}}}]}}}}]"),
            )
        });
        check(kubernetes::VOLUME_MOUNT, |field| {
            form.with(&format!("volumeMounts: [{{name: a, mountPath: /tmp, {field}}}]"), "volumes: [{name: a}]")
        });
        container(kubernetes::CONTAINER, "FIELD");
        container(kubernetes::LIFECYCLE, "lifecycle: {FIELD}");
        container(kubernetes::PORT, "ports: [{containerPort: 1, FIELD}]");
        container(kubernetes::VALUE_FROM, "env: [{name: A, valueFrom: {FIELD}}]");
        container(
            kubernetes::FIELD_REF,
            "env: [{name: A, valueFrom: {fieldRef: {fieldPath: metadata.namespace, FIELD}}}]",
        );
        container(kubernetes::SECURITY, "securityContext: {FIELD}");
        container(kubernetes::SECCOMP, "securityContext: {seccompProfile: {FIELD}}");
        container(kubernetes::PROBE, "readinessProbe: {FIELD}");
        container(kubernetes::HTTP_GET, "readinessProbe: {httpGet: {FIELD}}");
        container(kubernetes::TCP_SOCKET, "startupProbe: {tcpSocket: {FIELD}}");
        container(kubernetes::RESOURCES, "resources: {FIELD}");
    }
}

#[test]
fn of_an_object() {
    for text in [MINIMAL.to_owned(), KNATIVE.with("", ""), KSERVE.with("", ""), POD.with("", "")] {
        check(kubernetes::ROOT, |field| format!("{text}{field}\n"));
        let flow = text.replace("metadata:\n  name: demo\n", "metadata: {name: demo}\n");
        check(kubernetes::METADATA, |field| flow.replace("metadata: {", &format!("metadata: {{{field}, ")));
    }
}

#[test]
fn of_kserve() {
    check(kserve::SPEC, |field| with("spec", field));
    check(kserve::COMPONENT, |field| with("predictor", field));
    check(kserve::COMPONENT, |field| KSERVE.with("", field));
    check(kserve::POD_OF_MODEL, |field| with("predictor", field));
    check(kserve::MODEL, |field| with("model", field));
    check(kserve::MODEL_FORMAT, |field| with("modelFormat", field));
    check(kubernetes::RESOURCES, |field| with("model", &format!("resources: {{{field}}}")));
    check(kubernetes::LIMITS_OF_MODEL, |field| with("model", &format!("resources: {{limits: {{{field}}}}}")));
}

#[test]
fn of_knative() {
    let template = |lines: &str| KNATIVE.with("", "").replace("  template:\n", &format!("  template:\n    {lines}\n"));
    check(knative::REVISION, |field| KNATIVE.with("", field));
    check(knative::REVISION_METADATA, |field| template(&format!("metadata: {{{field}}}")));
    let not_named = |group: &&Known| !group.names.contains(&"generateName");
    for group in kubernetes::METADATA.iter().filter(not_named) {
        check(std::slice::from_ref(group), |field| template(&format!("metadata: {{{field}}}")));
    }
    check(knative::TRAFFIC, |field| {
        KNATIVE
            .with("", "")
            .replace("spec:\n  template", &format!("spec:\n  traffic: [{{percent: 100, {field}}}]\n  template"))
    });
}

#[test]
fn of_the_annotations_of_a_revision() {
    for (group, name) in knative::ANNOTATIONS.iter().flat_map(|group| group.names.iter().map(move |name| (group, name)))
    {
        let text = KNATIVE
            .with("", "")
            .replace("  template:\n", &format!("  template:\n    metadata: {{annotations: {{{name}: a}}}}\n"));
        let noted = only(&text).notes.iter().any(|note| note.to_string().contains(group.reason));
        assert!(noted, "{name}");
    }
}

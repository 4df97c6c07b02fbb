//! Variables that are taken from elsewhere: `valueFrom` and `envFrom`.

mod refused;

use super::{
    container::{FORMS, Form, KNATIVE, KSERVE, POD},
    objects::OBJECTS,
    *,
};

/// The variables of a container beside the objects.
fn variables(form: &Form, container: &str) -> Vec<(String, String)> {
    let manifest = only(&format!("{}---\n{OBJECTS}", form.with(container, "")));
    let env = manifest.endpoint.container.unwrap().env;
    env.iter().map(|variable| (variable.name().to_owned(), variable.value().to_owned())).collect()
}

/// The value of a variable that is taken from there.
fn value(form: &Form, from: &str, container: &str) -> String {
    let mut env = variables(form, &format!("env: [{{name: A, valueFrom: {{{from}}}}}]\n{container}"));
    assert_eq!(env.len(), 1, "{env:?}");
    env.remove(0).1
}

#[test]
fn a_variable_is_what_is_under_a_key() {
    for form in FORMS {
        for (from, expected) in [
            ("configMapKeyRef: {name: settings.v1, key: app.conf}", "verbose = true\n"),
            ("secretKeyRef: {name: settings.v1, key: TOKEN, optional: false}", "hunter2"),
            ("secretKeyRef: {name: settings.v1, key: both, optional: true}", "new"),
        ] {
            assert_eq!(value(&form, from, ""), expected);
        }
        for absent in ["{name: none, key: a, optional: true}", "{name: settings.v1, key: none, optional: true}"] {
            for kind in ["configMapKeyRef", "secretKeyRef"] {
                let env = format!("env: [{{name: A, value: old}}, {{name: A, valueFrom: {{{kind}: {absent}}}}}]");
                assert_eq!(variables(&form, &env), [("A".to_owned(), "old".to_owned())], "as if it were not written");
            }
        }
    }
}

#[test]
fn a_variable_is_a_field_of_the_pod() {
    let pod = POD.with("", "").replace("annotations: {", "labels: {app: web}, annotations: {example.org/a: b, ");
    let of_pod = |path: &str| {
        let from = format!("    env: [{{name: A, valueFrom: {{fieldRef: {{fieldPath: {path}}}}}}}]");
        only(&format!("{pod}{from}\n")).endpoint.container.unwrap().env[0].value().to_owned()
    };
    for (path, expected) in [
        ("metadata.name", "demo"),
        ("metadata.namespace", "vision"),
        ("\"metadata.labels['app']\"", "web"),
        ("\"metadata.labels['none']\"", ""),
        ("\"metadata.annotations['example.org/a']\"", "b"),
        ("\"metadata.annotations['dormouse.dev/min-replicas']\"", "0"),
    ] {
        assert_eq!(of_pod(path), expected, "{path}");
    }
    let label = "\nenv: [{name: A, valueFrom: {fieldRef: {fieldPath: \"metadata.labels['app']\"}}}]";
    let revision = KNATIVE
        .with(label, "")
        .replace("metadata: {name: demo", "metadata: {labels: {app: service}, name: demo")
        .replace("  template:\n", "  template:\n    metadata: {labels: {app: revision}}\n");
    let predictor = KSERVE.with(label, "").replace("metadata: {name", "metadata: {labels: {app: service}, name");
    let own = predictor.replace("  predictor:\n", "  predictor:\n    labels: {app: predictor}\n");
    for (text, expected) in [(revision, "revision"), (predictor, "service"), (own, "predictor")] {
        assert_eq!(only(&text).endpoint.container.unwrap().env[0].value(), expected, "{text}");
    }
}

#[test]
fn a_variable_is_what_a_container_may_use() {
    let limits =
        "resources: {limits: {cpu: 1500m, memory: 100Mi, ephemeral-storage: 10M}, requests: {cpu: 0, memory: 1Mi}}";
    for form in FORMS {
        for (resource, expected) in [
            ("limits.cpu", "2"),
            ("limits.cpu, divisor: 0", "2"),
            ("limits.cpu, divisor: 1m", "1500"),
            ("limits.memory", "104857600"),
            ("limits.memory, divisor: 1Mi", "100"),
            ("limits.memory, divisor: '1Gi'", "1"),
            ("limits.ephemeral-storage, divisor: 1M, containerName: main", "10"),
            ("requests.cpu", "0"),
            ("requests.memory, divisor: 1", "1048576"),
            ("requests.ephemeral-storage, divisor: 1k", "10000"),
        ] {
            assert_eq!(
                value(&form, &format!("resourceFieldRef: {{resource: {resource}}}"), limits),
                expected,
                "{resource}"
            );
        }
    }
}

#[test]
fn all_of_an_object_are_variables_and_the_last_of_a_name_counts() {
    let pairs = |container: &str| variables(&POD, container);
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        pairs(
            "envFrom: [{prefix: C_, configMapRef: {name: settings.v1, optional: true}}, {secretRef: {name: none, optional: true}}]"
        ),
        [pair("C_LEVEL", "info"), pair("C_app.conf", "verbose = true\n")]
    );
    let twice =
        OBJECTS.replace("kind: Secret", "kind: ConfigMap").replace("settings.v1, namespace", "first, namespace");
    let twice =
        twice.replace("type: Opaque\ndata:", "data:\n  LEVEL: debug").replace("stringData: {both: new, 1st: a}", "");
    let container = "envFrom: [{configMapRef: {name: first}}, {prefix: '', configMapRef: {name: settings.v1}}]
env: [{name: raw, value: '$(LEVEL)'}, {name: LEVEL, value: over}, {name: B, value: '$(LEVEL) $(raw)'}]
args: ['$(LEVEL)']";
    let container = only(&format!("{}---\n{twice}", POD.with(container, ""))).endpoint.container.unwrap();
    let last = |name: &str| container.env.iter().rfind(|variable| variable.name() == name).unwrap().value();
    assert_eq!((last("LEVEL"), last("raw"), last("B")), ("over", "debug", "over debug"));
    assert_eq!(container.env.iter().filter(|variable| variable.name() == "LEVEL").count(), 2, "one of all objects");
    assert_eq!(container.args, ["over"]);
}

#[test]
fn what_no_variable_can_be_named_is_skipped_with_a_note() {
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {1st: a, 2nd: b, GOOD: c, K_SERVICE: d, PORT: '8080'}\n";
    for form in FORMS {
        let manifest = only(&format!("{}---\n{secret}", form.with("envFrom: [{secretRef: {name: a}}]", "")));
        let notes: Vec<String> = manifest.notes.iter().map(ToString::to_string).collect();
        assert!(notes.iter().any(|note| note.contains("`1st` and 1 more: no variable has such a name")), "{notes:?}");
        assert!(notes.iter().any(|note| note.contains("every container is given it")), "{notes:?}");
        let names: Vec<_> = manifest.endpoint.container.as_ref().unwrap().env.iter().map(|v| v.name()).collect();
        let expected: &[&str] = if form.kind == "Service" { &["GOOD"] } else { &["GOOD", "PORT"] };
        assert_eq!(names, expected, "{}", form.kind);
    }
    let other = secret.replace("8080", "81");
    let container = "envFrom: [{secretRef: {name: a}}]\nports: [{containerPort: 80}]";
    let error = parse(&format!("{}---\n{other}", POD.with(container, ""))).unwrap_err().to_string();
    assert!(error.contains("envFrom[0]: not supported: it tells the port"), "{error}");
}

#[test]
fn what_objects_hold_counts_as_what_a_process_is_given() {
    let data: String = (0..1_025).map(|key| format!("  K{key}: a\n")).collect();
    let object = |data: &str| format!("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\ndata:\n{data}");
    for (data, container, reason) in [
        (data, "envFrom: [{configMapRef: {name: a}}]", "there are 1025, more than 1024"),
        (
            (1..1_025).map(|key| format!("  K{key}: a\n")).collect(),
            "envFrom: [{configMapRef: {name: a}}]\nenv: [{name: A}]",
            "there are 1025, more than 1024",
        ),
        (format!("  A: {}\n", "x".repeat(40_960)), "envFrom: [{configMapRef: {name: a}}]", "bytes together"),
        (
            format!("  A: {}\n", "x".repeat(40_960)),
            "env: [{name: A, valueFrom: {configMapKeyRef: {name: a, key: A}}}]",
            "bytes together",
        ),
    ] {
        let error = parse(&format!("{}{}", POD.with(container, ""), object(&data))).unwrap_err().to_string();
        assert!(error.contains(reason) && error.len() < 300, "{error}");
    }
}

//! Config maps and secrets, and how they are named.

use super::{
    container::{FORMS, KNATIVE, POD},
    *,
};

pub(super) const OBJECTS: &str = "\
apiVersion: v1
kind: ConfigMap
metadata: {name: settings.v1, namespace: vision, labels: {a: b}, annotations: {example.org/a: b}}
immutable: true
data:
  LEVEL: info
  app.conf: |
    verbose = true
binaryData: {blob: /wD+}
---
apiVersion: v1
kind: Secret
metadata: {name: settings.v1}
type: Opaque
data:
  TOKEN: |
    aHVu
    dGVyMg==
  both: b2xk
  raw: /w==
stringData: {both: new, 1st: a}
";

/// A container that is not without the objects.
pub(super) const USES: &str =
    "envFrom: [{configMapRef: {name: settings.v1}}, {secretRef: {name: none, optional: true}}]
env: [{name: SECRET, valueFrom: {secretKeyRef: {name: settings.v1, key: both}}}]";

/// The notes but for those of namespaces.
fn notes(text: &str) -> Vec<String> {
    let manifests = parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let notes = manifests.iter().flat_map(|manifest| &manifest.notes).map(ToString::to_string);
    notes.filter(|note| !note.contains("metadata.namespace")).collect()
}

#[test]
fn they_are_known_before_and_after_what_names_them() {
    for form in FORMS {
        let pod = form.with(USES, "");
        for text in [format!("{OBJECTS}---\n{pod}"), format!("{pod}---\n{OBJECTS}")] {
            let env = only(&text).endpoint.container.unwrap().env;
            let env: Vec<_> = env.iter().map(|variable| (variable.name(), variable.value())).collect();
            assert_eq!(env, [("LEVEL", "info"), ("app.conf", "verbose = true\n"), ("SECRET", "new")]);
            assert_eq!(notes(&text), Vec::<String>::new());
        }
    }
}

#[test]
fn what_is_not_honoured_of_them_is_told_with_the_first_manifest() {
    let pod = POD.with("", "");
    let secret = |lines: &str| format!("{pod}---\napiVersion: v1\nkind: Secret\nmetadata: {{name: a}}\n{lines}\n");
    let unused = "Secret a is not honoured: nothing in this file uses it";
    for plain in ["", "type: Opaque", "type: kubernetes.io/tls", "type: example.org/mine", "immutable: false"] {
        assert_eq!(notes(&secret(plain)), [unused], "{plain}");
    }
    for noted in
        ["kubernetes.io/dockerconfigjson", "kubernetes.io/service-account-token", "bootstrap.kubernetes.io/token"]
    {
        let notes = notes(&secret(&format!("type: {noted}")));
        assert!(notes[0].starts_with("Secret a: type is not honoured") && notes[1] == unused, "{notes:?}");
    }
    let written = secret("").replace("{name: a}", "{name: a, uid: '1', namespace: b}");
    let manifests =
        parse(&format!("{written}---\n{}", KNATIVE.with("", "").replace("name: demo", "name: other"))).unwrap();
    let paths = ignored(&manifests[0]);
    assert!(paths.contains(&"Secret a: metadata.uid") && paths.contains(&"Secret a: metadata.namespace"), "{paths:?}");
    assert_eq!(ignored(&manifests[1]), ["metadata.namespace"]);
}

/// Each row: what the document has beside its kind and its name, the path that the error names, and words of its reason.
#[test]
fn what_cannot_be_honoured_of_them_is_an_error_that_names_the_field() {
    for (kind, lines, path, reason) in [
        ("ConfigMap", "data: {'a b': c}", "data.a b", "a key is"),
        ("ConfigMap", "data: {..a: c}", "data[..a]", "a key is"),
        ("ConfigMap", "data: {'': c}", "data.", "a key is"),
        ("ConfigMap", "data: {a/b: c}", "data[a/b]", "a key is"),
        ("ConfigMap", "data: {a: 1}", "data.a", "in quotes"),
        ("ConfigMap", "data: {a: }", "data.a", "found nothing"),
        ("ConfigMap", "data: [a]", "data", "expected a mapping"),
        ("ConfigMap", "binaryData: {a: '*hunter2*'}", "binaryData.a", "not base64"),
        ("ConfigMap", "data: {a: b}\nbinaryData: {a: ''}", "binaryData.a", "`data` has this key too"),
        ("ConfigMap", "stringData: {a: b}", "stringData", "no such field"),
        ("ConfigMap", "type: Opaque", "type", "no such field"),
        ("ConfigMap", "datas: {a: b}", "datas", "did you mean `data`?"),
        ("ConfigMap", "immutable: 'yes'", "immutable", "true or false"),
        ("Secret", "data: {a: hunter2}", "data.a", "`stringData`"),
        ("Secret", "data: {a: aHVudGVyMg}", "data.a", "not base64"),
        ("Secret", "binaryData: {a: ''}", "binaryData", "no such field"),
        ("Secret", "stringData: {a: {hunter2: a}}", "stringData.a", "expected text, found a mapping"),
        ("Secret", "spec: {a: b}", "spec", "no such field"),
    ] {
        let text = format!("{}---\napiVersion: v1\nkind: {kind}\nmetadata: {{name: a}}\n{lines}\n", POD.with("", ""));
        let error = parse(&text).unwrap_err();
        let ManifestError::Field { at, path: named, .. } = &error else { panic!("{lines}: {error}") };
        assert_eq!(named, path, "{error}");
        assert!(error.to_string().contains(reason), "{error}");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        let line = text.lines().nth(usize::try_from(at.line).unwrap() - 1).unwrap();
        assert!(lines.contains(line), "{error}: `{line}`");
    }
}

#[test]
fn their_metadata_are_an_objects() {
    let named = |metadata: &str| {
        let text = format!("{}---\napiVersion: v1\nkind: Secret\nmetadata: {metadata}\n", POD.with("", ""));
        parse(&text).map(|_| ()).map_err(|error| error.to_string())
    };
    for name in ["a", "a.b-c.1", &"a".repeat(253)] {
        assert_eq!(named(&format!("{{name: {name}}}")), Ok(()));
    }
    for name in ["A", "a_b", "-a", "a.", ".a", "a..b", "a/b", "''", &"a".repeat(254)] {
        assert!(named(&format!("{{name: {name}}}")).unwrap_err().contains("metadata.name: not supported"), "{name}");
    }
    assert!(named("{labels: {}}").unwrap_err().contains("metadata: `name` is missing"));
    assert!(named("{generateName: a}").unwrap_err().contains("metadata.generateName"));
    let setting = named("{name: a, annotations: {dormouse.dev/tmp: 1Mi}}").unwrap_err();
    assert!(
        setting.contains("metadata.annotations[dormouse.dev/tmp]") && setting.contains("of endpoints"),
        "{setting}"
    );
}

#[test]
fn a_name_is_one_objects_of_its_kind() {
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: a, namespace: x1}\n";
    let text = format!("{}---\n{secret}---\n{}", POD.with("", ""), secret.replace("namespace: x1", "namespace: y1"));
    let error = parse(&text).unwrap_err().to_string();
    assert!(error.contains("metadata.name") && error.contains("two documents of the file are a Secret"), "{error}");
    assert!(parse(&text.replacen("kind: Secret", "kind: ConfigMap", 1)).is_ok());
}

#[test]
fn a_file_of_them_alone_is_an_error_that_says_where_they_go() {
    let error = parse(OBJECTS).unwrap_err();
    assert!(matches!(error, ManifestError::OnlyObjects) && error.to_string().contains("in one file"), "{error}");
    for kind in ["List", "ConfigMaps", "Service"] {
        let error = parse(&OBJECTS.replacen("kind: ConfigMap", &format!("kind: {kind}"), 1)).unwrap_err().to_string();
        assert!(error.contains("kind: not supported") && error.contains("v1 ConfigMap"), "{error}");
    }
}

#[test]
fn a_secret_is_shown_nowhere() {
    let pod = POD.with(
        "env: [{name: A, valueFrom: {secretKeyRef: {name: settings.v1, key: TOKEN}}}]\nvolumeMounts: [{name: a, mountPath: /a}]",
        "volumes: [{name: a, secret: {secretName: settings.v1}}]",
    );
    let manifest = only(&format!("{pod}---\n{OBJECTS}"));
    assert_eq!(manifest.endpoint.container.as_ref().unwrap().env[0].value(), "hunter2");
    assert!(!format!("{manifest:?}").contains("hunter2"));
    let document = &document::read("stringData: {a: hunter2}").unwrap()[0];
    assert!(!format!("{document:?}").contains("hunter2"));
}

proptest! {
    #[test]
    fn no_truncation_makes_it_panic(end in 0..1_500_usize) {
        let text = format!("{}---\n{OBJECTS}", POD.with(USES, ""));
        let _ = parse(text.get(..end).unwrap_or(&text));
    }
}

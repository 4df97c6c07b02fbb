#![allow(clippy::unwrap_used, clippy::expect_used)]
mod container;
mod documentation;
mod env;
mod knative;
mod known_fields;
mod not_honoured;
mod objects;
mod pod;
mod predictor;
mod volumes;

use std::{path::Path, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::{Bytes, MilliCpu};

const MINIMAL: &str = "\
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: demo
spec:
  predictor:
    model:
      modelFormat:
        name: onnx
      storageUri: file:///models/demo.onnx
";

/// The minimal manifest with `lines` written at the end of the mapping that `parent` opens.
fn with(parent: &str, lines: &str) -> String {
    let mut text = String::new();
    for line in MINIMAL.lines() {
        text.push_str(line);
        text.push('\n');
        if line.trim() == format!("{parent}:") {
            let indent = line.len() - line.trim_start().len() + 2;
            for added in lines.lines() {
                text.push_str(&format!("{:indent$}{added}\n", ""));
            }
        }
    }
    assert_ne!(text, MINIMAL, "no `{parent}:` in the minimal manifest");
    text
}

fn only(text: &str) -> Manifest {
    let mut manifests = parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(manifests.len(), 1);
    manifests.remove(0)
}

fn model(manifest: &Manifest) -> &Path {
    match &manifest.source {
        Source::Model(uri) => uri.path(),
        Source::Image(_) => panic!("{manifest:?}"),
    }
}

fn ignored(manifest: &Manifest) -> Vec<&str> {
    let ignored = manifest.notes.iter().filter_map(|note| match note {
        Note::Ignored { path, .. } => Some(path.as_str()),
        Note::Differs { .. } => None,
    });
    ignored.collect()
}

#[test]
fn a_silent_manifest_names_where_it_differs_from_kserve() {
    let manifest = only(MINIMAL);
    assert_eq!(manifest.endpoint, EndpointRequest::named("demo".parse().unwrap()));
    assert_eq!(model(&manifest), Path::new("/models/demo.onnx"));
    let notes: Vec<String> = manifest.notes.iter().map(ToString::to_string).collect();
    assert_eq!(
        notes,
        [
            "spec.predictor.model.protocolVersion is not set: v2 is used, where KServe would use v1",
            "spec.predictor.minReplicas is not set: 0 (the node's default) is used, where KServe would use 1",
        ]
    );
}

#[test]
fn what_is_honoured_arrives() {
    let text = "\
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: full
  namespace: default
  labels: {team: vision}
  annotations:
    dormouse.dev/freeze-after: 30s
    dormouse.dev/queue-waiters-max: '7'
    dormouse.dev/tmp: 1Mi
    example.org/owner: somebody
spec:
  predictor:
    minReplicas: 1
    maxReplicas: 3
    containerConcurrency: 2
    timeout: 90
    model:
      modelFormat: {name: onnx}
      protocolVersion: v2
      storageUri: file:///models/full
      resources:
        limits: {cpu: 1.5, memory: 1Gi}
";
    let manifest = only(text);
    assert_eq!(
        manifest.endpoint,
        EndpointRequest {
            min_replicas: Some(1),
            max_replicas: Some(3),
            container_concurrency: Some(2),
            timeout: Some(Duration::from_secs(90)),
            freeze_after: Some(Duration::from_secs(30)),
            queue_waiters_max: Some(7),
            tmp: Some(Bytes::from_mebibytes(1)),
            cpu: Some(MilliCpu::from_milli(1500)),
            memory: Some(Bytes::from_mebibytes(1024)),
            ..EndpointRequest::named("full".parse().unwrap())
        }
    );
    assert_eq!(manifest.notes, []);
}

#[test]
fn real_fields_that_are_not_honoured_are_noted() {
    let cases = [
        ("metadata", "namespace: vision", "metadata.namespace"),
        ("metadata", "creationTimestamp: '2026-01-01T00:00:00Z'", "metadata.creationTimestamp"),
        (
            "metadata",
            "annotations: {serving.kserve.io/deploymentMode: Standard}",
            "metadata.annotations[serving.kserve.io/deploymentMode]",
        ),
        (
            "metadata",
            "annotations: {autoscaling.knative.dev/target: '5'}",
            "metadata.annotations[autoscaling.knative.dev/target]",
        ),
        ("metadata", "annotations: {serving.kserve.io/stop: 'false'}", "metadata.annotations[serving.kserve.io/stop]"),
        ("predictor", "scaleTarget: 5", "spec.predictor.scaleTarget"),
        ("predictor", "logger: {mode: all, url: 'http://sink'}", "spec.predictor.logger"),
        ("predictor", "annotations: {a: b}", "spec.predictor.annotations"),
        ("predictor", "labels: {a: b}", "spec.predictor.labels"),
        ("predictor", "nodeSelector: {gpu: 'yes'}", "spec.predictor.nodeSelector"),
        ("predictor", "terminationGracePeriodSeconds: 5", "spec.predictor.terminationGracePeriodSeconds"),
        ("model", "args: [--verbose]", "spec.predictor.model.args"),
        ("model", "env: [{name: A, value: b}]", "spec.predictor.model.env"),
        ("model", "resources: {requests: {cpu: 1}}", "spec.predictor.model.resources.requests"),
        (
            "model",
            "resources: {limits: {ephemeral-storage: 1Gi}}",
            "spec.predictor.model.resources.limits.ephemeral-storage",
        ),
        ("model", "resources: {limits: {hugepages-2Mi: 4Mi}}", "spec.predictor.model.resources.limits.hugepages-2Mi"),
        ("modelFormat", "version: '1'", "spec.predictor.model.modelFormat.version"),
    ];
    for (parent, lines, path) in cases {
        assert_eq!(ignored(&only(&with(parent, lines))), [path], "{lines}");
    }
    assert_eq!(ignored(&only(&format!("{MINIMAL}status: {{url: 'http://x'}}\n"))), ["status"]);
}

#[test]
fn what_is_absent_or_foreign_is_not_noted() {
    for (parent, lines) in [
        ("metadata", "namespace: default"),
        ("metadata", "creationTimestamp: null"),
        ("metadata", "labels: {app: x}\nannotations: {kubectl.kubernetes.io/last-applied-configuration: '{}'}"),
        ("metadata", "annotations: {notkserve.io/a: b, kserve.io.example.org/a: b}"),
        ("predictor", "logger:"),
        ("predictor", "containers: []\ninitContainers: []"),
        ("model", "resources: {}"),
    ] {
        assert!(ignored(&only(&with(parent, lines))).is_empty(), "{lines}");
    }
}

/// Each row: what is added under which mapping, the path the error names, and words of its reason.
#[test]
fn what_cannot_be_honoured_is_an_error_that_names_the_field() {
    let cases = [
        ("spec", "transformer: {}", "spec.transformer", "only a predictor"),
        ("spec", "explainer: {}", "spec.explainer", "only a predictor"),
        ("spec", "predicter: {}", "spec.predicter", "did you mean `predictor`?"),
        ("predictor", "onnx: {}", "spec.predictor.onnx", "modelFormat"),
        ("predictor", "containers: [{image: a}]", "spec.predictor.containers", "one of the two"),
        ("predictor", "initContainers: [{image: a}]", "spec.predictor.initContainers", "only program"),
        ("predictor", "canaryTrafficPercent: 10", "spec.predictor.canaryTrafficPercent", "all traffic"),
        ("predictor", "workerSpec: {}", "spec.predictor.workerSpec", "one node"),
        ("predictor", "minReplica: 1", "spec.predictor.minReplica", "did you mean `minReplicas`?"),
        ("predictor", "minReplicas: -1", "spec.predictor.minReplicas", "-1 is out of range"),
        ("predictor", "minReplicas: '1'", "spec.predictor.minReplicas", "expected a whole number, found text"),
        ("predictor", "maxReplicas: 0", "spec.predictor.maxReplicas", "at least 1"),
        ("predictor", "containerConcurrency: 0", "spec.predictor.containerConcurrency", "without a bound"),
        ("predictor", "timeout: 1.5", "spec.predictor.timeout", "expected a whole number, found a number"),
        ("predictor", "timeout: 9223372036854775807", "spec.predictor.timeout", "a year"),
        ("predictor", "annotations: {dormouse.dev/pids: '1'}", "dormouse.dev/pids]", "metadata.annotations"),
        ("model", "protocolVersion: v1", "spec.predictor.model.protocolVersion", "`v1`: only v2"),
        ("model", "protocolVersion: grpc-v2", "spec.predictor.model.protocolVersion", "`grpc-v2`: only v2"),
        ("model", "runtime: kserve-tritonserver", "spec.predictor.model.runtime", "built-in ONNX worker"),
        ("model", "storage: {key: a}", "spec.predictor.model.storage", "file:///path"),
        ("model", "image: a", "spec.predictor.model.image", "built-in ONNX worker"),
        ("model", "resources: {limits: {nvidia.com/gpu: 1}}", "limits[nvidia.com/gpu]", "no devices"),
        ("model", "resources: {limits: {cpus: 1}}", "resources.limits.cpus", "no such field"),
        ("model", "resources: {limits: {memory: 1GB}}", "resources.limits.memory", "not a memory quantity"),
        ("model", "resources: {limits: {cpu: [1]}}", "resources.limits.cpu", "found a list"),
        ("model", "resources: [1]", "spec.predictor.model.resources", "expected a mapping, found a list"),
        ("modelFormat", "variant: x", "spec.predictor.model.modelFormat.variant", "no such field"),
        ("metadata", "generateName: x-", "metadata.generateName", "write `name`"),
        ("metadata", "namespace: 5", "metadata.namespace", "expected text, in quotes"),
        ("metadata", "labels: {a: 1}", "metadata.labels.a", "expected text, in quotes"),
        ("metadata", "annotations: {serving.kserve.io/stop: 'true'}", "serving.kserve.io/stop]", "dormouse delete"),
        ("metadata", "annotations: {dormouse.dev/freezeafter: 1s}", "/freezeafter]", "did you mean `freeze-after`?"),
        ("metadata", "annotations: {dormouse.dev/network: egress}", "/network]", "for images"),
        ("metadata", "annotations: {dormouse.dev/networks: egress}", "/networks]", "did you mean `network`?"),
        ("metadata", "annotations: {dormouse.dev/pids: 64}", "dormouse.dev/pids]", "in quotes"),
        ("metadata", "annotations: {dormouse.dev/freeze-after: '10'}", "freeze-after]", "not a duration"),
    ];
    for (parent, lines, path, reason) in cases {
        let text = with(parent, lines);
        let error = parse(&text).unwrap_err();
        let ManifestError::Field { at, path: named, .. } = &error else { panic!("{lines}: {error}") };
        assert!(named.ends_with(path), "{lines}: {error}");
        assert!(error.to_string().contains(reason), "{lines}: {error}");
        let line = text.lines().nth(usize::try_from(at.line).unwrap() - 1).unwrap();
        assert!(lines.contains(line.trim()), "{lines}: the error points to `{line}`");
    }
}

#[test]
fn what_is_missing_or_another_kind_is_an_error() {
    let cases = [
        ("  name: demo\n", "  labels: {}\n", "`name` is missing"),
        ("name: demo", "name: Demo_1", "metadata.name: `Demo_1` is not an endpoint name"),
        ("name: onnx", "name: pytorch", "modelFormat.name: not supported: `pytorch`"),
        ("file:///models", "s3://models", "storageUri: `s3://models/demo.onnx` cannot be fetched"),
        ("file:///models", "file://models", "storageUri: `file://models/demo.onnx` names a host"),
        (
            "serving.kserve.io/v1beta1",
            "serving.kserve.io/v1alpha1",
            "apiVersion: not supported: `serving.kserve.io/v1a",
        ),
        ("serving.kserve.io/v1beta1", "serving.knative.dev/v1", "kind: not supported: `InferenceService`"),
        ("serving.kserve.io/v1beta1", "apps/v1", "v1 Pod"),
        ("kind: InferenceService", "kind: Service", "kind: not supported: `Service`"),
        ("kind: InferenceService\n", "", "the document: `kind` is missing"),
        ("      storageUri: file:///models/demo.onnx\n", "", "spec.predictor.model: `storageUri` is missing"),
        ("    model:\n", "    # model:\n", "there is no such field"),
    ];
    for (from, to, expected) in cases {
        assert!(MINIMAL.contains(from), "{from}");
        let error = parse(&MINIMAL.replacen(from, to, 1)).unwrap_err().to_string();
        assert!(error.contains(expected), "{to}: {error}");
    }
}

#[test]
fn a_setting_made_twice_is_an_error() {
    let text = with("predictor", "minReplicas: 1")
        .replace("  name: demo", "  name: demo\n  annotations: {dormouse.dev/min-replicas: '2'}");
    assert!(parse(&text).unwrap_err().to_string().contains("made twice"));
}

#[test]
fn a_file_holds_one_manifest_a_document() {
    let second = MINIMAL.replace("name: demo", "name: other");
    let names = |text: &str| -> Vec<String> {
        parse(text).unwrap().iter().map(|manifest| manifest.endpoint.name.to_string()).collect()
    };
    assert_eq!(names(&format!("---\n{MINIMAL}---\n{second}")), ["demo", "other"]);
    assert_eq!(names(&format!("# nothing\n---\n{MINIMAL}---\n---\n# nothing\n")), ["demo"]);
    let twice = parse(&format!("{MINIMAL}---\n{MINIMAL}")).unwrap_err();
    assert!(matches!(twice, ManifestError::NamedTwice { .. }), "{twice}");
    for empty in ["", "\n", "# only a comment\n", "---\n---\n", "null"] {
        assert!(matches!(parse(empty), Err(ManifestError::Empty)), "{empty}");
    }
}

#[test]
fn text_that_is_no_manifest_is_an_error() {
    for text in ["5", "hello", "[]", "[1, 2]", "{}", "a: b", "\u{0}", "\u{feff}x", "!!binary aGk=", ".inf"] {
        assert!(parse(text).is_err(), "{text}");
    }
    let duplicate = parse(&with("metadata", "name: again")).unwrap_err().to_string();
    assert!(duplicate.contains("name") && duplicate.contains("line"), "{duplicate}");
    let broken = parse("apiVersion: [\nkind: x").unwrap_err().to_string();
    assert!(broken.contains("line"), "{broken}");
}

#[test]
fn hostile_yaml_ends_at_a_limit() {
    let mut laughs = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
    for level in 1..10 {
        let below = format!("*a{}", level - 1);
        laughs.push_str(&format!("a{level}: &a{level} [{}]\n", [below.as_str(); 9].join(", ")));
    }
    let merges: String = (0..3_000).map(|key| format!("k{key}: {{<<: *a}}\n")).collect();
    let anchors: String = (0..2_000).map(|key| format!("k{key}: &a{key} 1\n")).collect();
    let one_anchor = format!("a: &a {}\nb: [{}]\n", "x".repeat(10_000), ["*a"; 10_000].join(","));
    for (what, text) in [
        ("billion laughs", laughs),
        ("deep flow lists", format!("{}{}", "[".repeat(200), "]".repeat(200))),
        ("deep flow mappings", format!("{}{}", "{a: ".repeat(200), "}".repeat(200))),
        ("deep block lists", format!("{}a", "- ".repeat(10_000))),
        ("wide", "- 1\n".repeat(30_000)),
        ("anchors", anchors),
        ("aliases", one_anchor),
        ("an anchor in itself", "a: &a [*a]".to_owned()),
        ("merges", format!("a: &a {{x: 1}}\n{merges}")),
    ] {
        let error = parse(&text).unwrap_err();
        assert!(matches!(error, ManifestError::Yaml(_)), "{what}: {error}");
        // A syntax error would prove nothing about the limits.
        let reasons = ["budget breached", "recursion limit", "recursive references"];
        assert!(reasons.iter().any(|reason| error.to_string().contains(reason)), "{what}: {error}");
    }
    let large = parse(&" ".repeat(MANIFEST_BYTES_MAX + 1)).unwrap_err();
    assert!(matches!(large, ManifestError::TooLarge { .. }), "{large}");
    let many = parse(&"---\na: 1\n".repeat(DOCUMENTS_MAX + 1)).unwrap_err();
    assert!(matches!(many, ManifestError::TooManyDocuments | ManifestError::Yaml(_)), "{many}");
}

#[test]
fn an_error_never_repeats_a_text_at_length() {
    let long = "x".repeat(100_000);
    for text in [
        MINIMAL.replace("name: demo", &format!("name: {long}")),
        MINIMAL.replace("file://", &format!("{long}://")),
        MINIMAL.replace("kind: InferenceService", &format!("kind: {long}")),
        with("metadata", &format!("annotations: {{dormouse.dev/pids: {long}}}")),
        with("model", &format!("resources: {{limits: {{cpu: {long}}}}}")),
        with("spec", &format!("? {long}\n: 1")),
    ] {
        let error = parse(&text).unwrap_err().to_string();
        assert!(error.len() < 1_000, "{} bytes", error.len());
    }
    // What is not honoured may be as long as it likes.
    assert_eq!(ignored(&only(&with("metadata", &format!("namespace: {long}")))), ["metadata.namespace"]);
}

#[test]
fn the_examples_are_manifests_without_a_warning() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/endpoints");
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let manifests = parse(&std::fs::read_to_string(&path).unwrap());
        let manifests = manifests.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for manifest in manifests {
            assert_eq!(manifest.notes, [], "{}", path.display());
            let resolved = manifest.endpoint.resolve(&crate::EndpointDefaults::default(), Bytes::new(1), 2);
            assert!(resolved.is_ok(), "{}: {resolved:?}", path.display());
            count += 1;
        }
    }
    assert!(count >= 4, "{count} examples");
}

#[test]
fn the_seeds_of_the_fuzzer_are_manifests() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/manifests");
    for kind in ["knative", "pod", "predictor"] {
        let text = std::fs::read_to_string(folder.join(kind)).unwrap();
        assert!(matches!(only(&text).source, Source::Image(_)), "{kind}");
    }
}

/// Lines from which manifests, nearly right ones too, are put together.
fn fragments() -> impl Strategy<Value = String> {
    let lines: Vec<String> = MINIMAL
        .lines()
        .map(str::to_owned)
        .chain(
            [
                "---",
                "  annotations: {dormouse.dev/tmp: 1Mi}",
                "    minReplicas: 1",
                "      resources: {limits: {cpu: 1}}",
                "  namespace: *a",
                "spec: &a",
                "      <<: *a",
                "      env: [",
                "status: !!binary x",
                "? [a, b]",
                "'",
            ]
            .map(str::to_owned),
        )
        .collect();
    prop::collection::vec(prop::sample::select(lines), 0..24).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC*") {
        let _ = parse(&text);
    }

    #[test]
    fn no_yaml_like_text_makes_it_panic(text in "[-a-z0-9:&*!{}\\[\\],'\"#|>%@?\n ]{0,200}") {
        let _ = parse(&text);
    }

    #[test]
    fn no_arrangement_of_a_manifest_makes_it_panic(text in fragments()) {
        let _ = parse(&text);
    }

    #[test]
    fn no_truncation_makes_it_panic(end in 0..MINIMAL.len()) {
        let _ = parse(MINIMAL.get(..end).unwrap_or_default());
    }

    #[test]
    fn a_file_uri_reads_back_what_it_prints(bytes in prop::collection::vec(1_u8.., 0..40)) {
        use std::os::unix::ffi::OsStrExt;
        let escaped: String = bytes.iter().map(|byte| format!("%{byte:02x}")).collect();
        let uri: FileUri = format!("file:///{escaped}").parse().unwrap();
        prop_assert_eq!(&uri.path().as_os_str().as_bytes()[1..], &bytes[..]);
        prop_assert_eq!(uri.to_string().parse(), Ok(uri));
    }
}

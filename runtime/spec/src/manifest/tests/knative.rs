use super::{container::KNATIVE, *};

/// The template's metadata with these annotations.
fn annotated(annotations: &str) -> String {
    KNATIVE
        .with("", "")
        .replace("  template:\n", &format!("  template:\n    metadata: {{annotations: {{{annotations}}}}}\n"))
}

fn with_traffic(traffic: &str) -> String {
    KNATIVE.with("", "").replace("spec:\n  template", &format!("spec:\n  traffic: {traffic}\n  template"))
}

#[test]
fn a_revision_says_how_it_is_served() {
    let endpoint = KNATIVE.read("", "containerConcurrency: 10\ntimeoutSeconds: 20").endpoint;
    assert_eq!((endpoint.container_concurrency, endpoint.timeout), (Some(10), Some(Duration::from_secs(20))));
    let unbounded = KNATIVE.read("", "containerConcurrency: 0");
    assert_eq!(unbounded.endpoint.container_concurrency, None);
    assert_eq!(ignored(&unbounded), ["spec.template.spec.containerConcurrency"]);
}

#[test]
fn scales_are_numbers_of_replicas() {
    for (min, max) in [("min-scale", "max-scale"), ("minScale", "maxScale")] {
        let text = annotated(&format!("autoscaling.knative.dev/{min}: '1', autoscaling.knative.dev/{max}: '3'"));
        let manifest = only(&text);
        assert_eq!((manifest.endpoint.min_replicas, manifest.endpoint.max_replicas), (Some(1), Some(3)));
        assert_eq!(ignored(&manifest), ["metadata.namespace"]);
    }
    let unbounded = only(&annotated("autoscaling.knative.dev/max-scale: '0'"));
    assert_eq!(unbounded.endpoint.max_replicas, None);
    assert!(ignored(&unbounded)[1].ends_with("annotations[autoscaling.knative.dev/max-scale]"));
}

#[test]
fn annotations_of_a_revision_are_honoured_noted_or_errors() {
    for noted in
        ["autoscaling.knative.dev/target: '7'", "autoscaling.knative.dev/class: x", "features.knative.dev/a: b"]
    {
        assert_eq!(ignored(&only(&annotated(noted))).len(), 2, "{noted}");
    }
    let retention = only(&annotated("autoscaling.knative.dev/scale-to-zero-pod-retention-period: 5m"));
    assert!(retention.notes.iter().any(|note| note.to_string().contains("dormouse.dev/zero-after")));
    assert_eq!(ignored(&only(&annotated("sidecar.istio.io/inject: 'true'"))), ["metadata.namespace"]);
    for (annotations, reason) in [
        ("autoscaling.knative.dev/min-scale: x", "not a whole number"),
        ("autoscaling.knative.dev/min-scale: 1", "in quotes"),
        ("autoscaling.knative.dev/min-scale: '1', autoscaling.knative.dev/minScale: '1'", "made twice"),
        ("dormouse.dev/pids: '64'", "metadata.annotations"),
    ] {
        let error = parse(&annotated(annotations)).unwrap_err().to_string();
        assert!(error.contains(reason) && error.contains("spec.template.metadata.annotations"), "{error}");
    }
}

#[test]
fn only_the_latest_revision_takes_traffic() {
    for traffic in ["[]", "[{latestRevision: true, percent: 100}]", "[{percent: 100, tag: ''}]"] {
        assert_eq!(ignored(&only(&with_traffic(traffic))), ["metadata.namespace"], "{traffic}");
    }
    for (traffic, path) in [
        ("[{latestRevision: true}]", "spec.traffic[0]"),
        ("[{latestRevision: true, percent: 50}]", "spec.traffic[0].percent"),
        ("[{latestRevision: false, percent: 100}]", "spec.traffic[0].latestRevision"),
        ("[{latestRevision: 1, percent: 100}]", "spec.traffic[0].latestRevision"),
        ("[{revisionName: a, percent: 100}]", "spec.traffic[0].revisionName"),
        ("[{percent: 100, tag: a}]", "spec.traffic[0].tag"),
        ("[{percent: 100}, {revisionName: a, percent: 0}]", "spec.traffic[1]"),
        ("[{percents: 100}]", "spec.traffic[0].percents"),
    ] {
        let error = parse(&with_traffic(traffic)).unwrap_err();
        let ManifestError::Field { path: named, .. } = &error else { panic!("{error}") };
        assert_eq!(named, path, "{error}");
    }
}

#[test]
fn variables_that_knative_gives_are_known_to_arguments_and_not_given_twice() {
    let args = "args: ['$(PORT)', '$(K_SERVICE)', '$(K_REVISION)']\nports: [{containerPort: 9000}]";
    assert_eq!(KNATIVE.container(args).args, ["9000", "demo", "$(K_REVISION)"]);
    assert_eq!(KNATIVE.container("args: ['$(PORT)']\nports: [{name: http1}]").args, ["8080"]);
    for name in ["PORT", "K_SERVICE", "K_CONFIGURATION", "K_REVISION"] {
        let error = parse(&KNATIVE.with(&format!("env: [{{name: {name}, value: a}}]"), "")).unwrap_err().to_string();
        assert!(error.contains("env[0].name") && error.contains("every container is given it"), "{error}");
    }
}

#[test]
fn what_is_missing_is_an_error() {
    for (from, to, expected) in [
        ("  template:", "  # template:", "there is no such field"),
        ("    spec:", "    metadata: {name: a}\n    spec2:", "spec.template: `spec` is missing"),
        ("image: busybox:1.36", "imagePullPolicy: Never", "`image` is missing"),
        ("image: busybox:1.36", "image: Busybox", "`Busybox` is not"),
        ("image: busybox:1.36", "image: ''", "needs a name"),
    ] {
        let text = KNATIVE.with("", "");
        assert!(text.contains(from), "{from}");
        let error = parse(&text.replacen(from, to, 1)).unwrap_err().to_string();
        assert!(error.contains(expected), "{to}: {error}");
    }
    let none = "apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: a}\nspec: {template: {spec: {}}}";
    assert!(parse(none).unwrap_err().to_string().contains("spec.template.spec: `containers` is missing"));
    let empty = none.replace("spec: {}", "spec: {containers: []}");
    assert!(parse(&empty).unwrap_err().to_string().contains("there is no container"));
}

use super::{container::KSERVE, *};

#[test]
fn a_custom_predictor_is_a_container_with_the_settings_of_a_predictor() {
    let text = KSERVE.with("args: ['$(PORT)']", "maxReplicas: 2\ncontainerConcurrency: 3\ntimeout: 4");
    let manifest = only(&text);
    let endpoint = manifest.endpoint;
    assert_eq!((endpoint.min_replicas, endpoint.max_replicas), (Some(0), Some(2)));
    assert_eq!((endpoint.container_concurrency, endpoint.timeout), (Some(3), Some(Duration::from_secs(4))));
    assert_eq!(endpoint.container.unwrap().args, ["8080"]);
    let silent = only(&KSERVE.with("", "").replace("    minReplicas: 0\n", ""));
    assert!(silent.notes.iter().any(|note| note.to_string().contains("KServe would use 1")), "{:?}", silent.notes);
    for (container, predictor, reason) in [
        ("env: [{name: STORAGE_URI, value: 's3://a'}]", "", "/mnt/models"),
        ("", "model: {modelFormat: {name: onnx}}", "one of the two"),
        ("", "storageUris: [{uri: a}]", "one model"),
        ("", "workerSpec: {}", "one node"),
        ("env: [{name: A, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]", "", "names that nobody wrote"),
    ] {
        let error = parse(&KSERVE.with(container, predictor)).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
    assert_eq!(ignored(&KSERVE.read("", "logger: {mode: all}")), ["spec.predictor.logger"]);
}

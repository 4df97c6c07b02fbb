use super::{
    container::{KNATIVE, KSERVE},
    *,
};
use crate::{HostPathType, Volume, VolumeMount};

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

#[test]
fn the_model_of_a_custom_predictor_is_where_kserve_puts_it() {
    let env = "args: ['$(STORAGE_URI)']\nenv: [{name: STORAGE_URI, value: 'file:///srv/models/a%20b/'}]";
    let container = KSERVE.container(env);
    assert_eq!(container.args, ["/mnt/models"], "which KServe writes into the variable");
    assert_eq!(container.env[0].value(), "/mnt/models");
    let mount = VolumeMount {
        name: "STORAGE_URI".to_owned(),
        mount_path: "/mnt/models".parse().unwrap(),
        read_only: true,
        volume: Volume::HostPath { path: "/srv/models/a b".parse().unwrap(), r#type: HostPathType::Directory },
    };
    assert_eq!(container.volume_mounts, [mount]);
    let empty = KSERVE.container("env: [{name: STORAGE_URI}]");
    assert_eq!((empty.volume_mounts.len(), empty.env.len()), (0, 1));
    assert_eq!(KNATIVE.container(env).volume_mounts, [], "it is KServe's");

    let uri = |uri: &str| format!("env: [{{name: STORAGE_URI, {uri}}}]");
    let models = "- {name: a, mountPath: /mnt/models}";
    for (container, path, reason) in [
        (uri("value: 's3://hunter2'"), "env[0].value", "write `file:///path`"),
        (uri("value: 'file://hunter2'"), "env[0].value", "write `file:///path`"),
        (uri("value: 'file:///'"), "env[0].value", "the root itself"),
        (uri("value: 'file:///a/../b'"), "env[0].value", "`..`"),
        (uri("value: 'file:///%ff'"), "env[0].value", "UTF-8"),
        (uri("valueFrom: {fieldRef: {fieldPath: metadata.namespace}}"), "env[0].valueFrom", "write `value: file"),
        (
            "env: [{name: STORAGE_URI, value: 'file:///a'}, {name: STORAGE_URI, value: 'file:///b'}]".to_owned(),
            "env[1].name",
            "one model",
        ),
        (format!("{}\nvolumeMounts:\n{models}", uri("value: 'file:///a'")), "env[0].name", "`a` is mounted there too"),
    ] {
        let error = parse(&KSERVE.with(&container, "volumes: [{name: a}]")).unwrap_err().to_string();
        assert!(error.contains(path) && error.contains(reason), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

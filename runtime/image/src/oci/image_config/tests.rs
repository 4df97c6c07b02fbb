#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::*;
use crate::oci::{Descriptor, LAYERS_MAX, MediaType};

fn descriptor(media_type: &str) -> Value {
    json!({"mediaType": media_type, "digest": Digest::from_sha256([1; 32]), "size": 3})
}

fn manifest(layers: usize) -> Result<ImageManifest, DocumentError> {
    manifest_of("application/vnd.oci.image.config.v1+json", layers)
}

fn manifest_of(config: &str, layers: usize) -> Result<ImageManifest, DocumentError> {
    let layers = vec![descriptor("application/vnd.oci.image.layer.v1.tar+gzip"); layers];
    let document = json!({"schemaVersion": 2, "config": descriptor(config), "layers": layers});
    ImageManifest::parse(document.to_string().as_bytes(), MediaType::OciManifest)
}

fn document(config: &Value) -> Value {
    json!({
        "architecture": "arm64", "os": "linux", "variant": "v8", "created": "now", "history": [{}],
        "rootfs": {"type": "layers", "diff_ids": [Digest::from_sha256([2; 32])]},
        "config": config,
    })
}

fn parse(document: &Value) -> Result<ImageConfig, DocumentError> {
    ImageConfig::parse(document.to_string().as_bytes(), &manifest(1).unwrap())
}

fn with(config: &Value) -> Result<ImageConfig, DocumentError> {
    parse(&document(config))
}

#[test]
fn what_an_image_says_is_read() {
    let config = with(&json!({
        "User": "1000:10", "Env": ["PATH=/bin", "A=b=c", "EMPTY=", "NOTHING"], "Entrypoint": ["/a"], "Cmd": ["b", ""],
        "WorkingDir": "/w", "ExposedPorts": {"8080/tcp": {}, "53/udp": {}, "80": {}}, "StopSignal": "SIGINT",
        "Labels": {"l": "1"}, "Volumes": {"/v": {}},
    }))
    .unwrap();
    assert_eq!((config.platform.to_string().as_str(), config.user.as_str()), ("linux/arm64/v8", "1000:10"));
    assert_eq!(config.diff_ids, [Digest::from_sha256([2; 32])]);
    let env: Vec<_> = config.env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(env, [("PATH", "/bin"), ("A", "b=c"), ("EMPTY", "")]);
    assert_eq!((config.entrypoint, config.cmd), (vec!["/a".to_owned()], vec!["b".to_owned(), String::new()]));
    let ports: Vec<_> = config.exposed_ports.iter().map(|exposed| (exposed.port, exposed.protocol)).collect();
    assert_eq!(ports, [(53, Protocol::Udp), (80, Protocol::Tcp), (8080, Protocol::Tcp)]);
    assert_eq!((config.working_dir.as_str(), config.stop_signal.as_deref()), ("/w", Some("SIGINT")));
    assert_eq!(config.labels.get("l").map(String::as_str), Some("1"));
}

#[test]
fn nothing_may_be_left_out_or_null() {
    let nulls = json!({
        "User": null, "Env": null, "Entrypoint": null, "Cmd": null, "WorkingDir": null, "ExposedPorts": null,
        "StopSignal": "", "Labels": null,
    });
    for config in [nulls, json!({}), Value::Null] {
        let config = with(&config).unwrap();
        assert!(config.env.is_empty() && config.cmd.is_empty() && config.stop_signal.is_none());
    }
}

#[test]
fn there_is_one_diff_id_a_layer() {
    let bytes = document(&Value::Null).to_string();
    for layers in [0, 2] {
        let error = ImageConfig::parse(bytes.as_bytes(), &manifest(layers).unwrap()).unwrap_err();
        assert!(matches!(error, DocumentError::Layers { diff_ids: 1, .. }), "{error:?}");
    }
}

#[test]
fn limits_hold() {
    let large = vec![b' '; CONFIG_BYTES_MAX + 1];
    let error = ImageConfig::parse(&large, &manifest(1).unwrap()).unwrap_err();
    assert!(matches!(error, DocumentError::TooLarge { .. }), "{error:?}");
    for config in [
        json!({"Env": vec!["A=b"; ENV_ENTRIES_MAX + 1]}),
        json!({"Entrypoint": vec!["a"; WORDS_MAX + 1]}),
        json!({"Cmd": vec!["a"; WORDS_MAX + 1]}),
        json!({"Labels": (0..=LABELS_MAX).map(|n| (n.to_string(), json!(""))).collect::<serde_json::Map<_, _>>()}),
        json!({"ExposedPorts": (1..=PORTS_MAX + 1).map(|n| (n.to_string(), json!({}))).collect::<serde_json::Map<_, _>>()}),
    ] {
        let error = with(&config).unwrap_err();
        assert!(matches!(error, DocumentError::TooMany { .. }), "{error:?}");
    }
    assert!(manifest(LAYERS_MAX).is_ok());
    assert!(matches!(manifest(LAYERS_MAX + 1), Err(DocumentError::TooMany { count: 129, .. })));
}

#[test]
fn a_nul_hides_nothing() {
    for member in ["User", "WorkingDir", "Env", "Entrypoint", "Cmd"] {
        let text = json!("a=\0b");
        let value = if matches!(member, "User" | "WorkingDir") { text } else { json!([text]) };
        let error = with(&json!({ member: value })).unwrap_err();
        assert!(matches!(error, DocumentError::Nul { member: told } if told == member), "{error:?}");
    }
}

#[test]
fn a_port_is_a_number_and_a_protocol() {
    for port in ["", "tcp", "80/http", "65536/tcp", "-1/tcp", "80-90/tcp", "0/tcp"] {
        let error = with(&json!({"ExposedPorts": {port: {}}})).unwrap_err();
        assert!(matches!(error, DocumentError::Port { .. }), "{port}: {error:?}");
    }
}

#[test]
fn an_image_for_another_machine_says_for_which() {
    let config = with(&Value::Null).unwrap();
    let machine =
        |architecture: &str| Platform { os: "linux".into(), architecture: architecture.into(), variant: None };
    config.check_platform(&machine("arm64")).unwrap();
    let error = config.check_platform(&machine("amd64")).unwrap_err().to_string();
    assert!(error.contains("(linux/amd64)") && error.ends_with("linux/arm64/v8"), "{error}");
}

#[test]
fn what_is_no_container_image_is_no_manifest() {
    let error = manifest_of("application/vnd.cncf.helm.config.v1+json", 1).unwrap_err();
    assert!(matches!(error, DocumentError::NotAnImage { .. }), "{error:?}");
    assert!(manifest_of("application/vnd.docker.container.image.v1+json", 1).is_ok());
    let layered: Descriptor = manifest(1).unwrap().layers.remove(0);
    assert_eq!(layered.size, 3);
}

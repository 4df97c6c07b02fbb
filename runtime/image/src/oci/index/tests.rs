#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::*;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// An index of entries with these platforms, numbered by their sizes.
fn index(platforms: &[&str]) -> ImageIndex {
    let entries = platforms.iter().enumerate().map(|(size, text)| entry(size, text)).collect::<Vec<_>>();
    parse(&json!({"schemaVersion": 2, "manifests": entries, "annotations": {"a": "b"}})).unwrap()
}

fn entry(size: usize, platform: &str) -> Value {
    let digest = Digest::from_sha256([1; 32]);
    let mut entry = json!({"mediaType": MANIFEST, "digest": digest, "size": size});
    let mut parts = platform.split('/');
    if let (Some(os), Some(architecture)) = (parts.next(), parts.next()) {
        entry["platform"] = json!({"os": os, "architecture": architecture, "variant": parts.next()});
    }
    entry
}

fn parse(document: &Value) -> Result<ImageIndex, DocumentError> {
    ImageIndex::parse(document.to_string().as_bytes(), MediaType::OciIndex)
}

fn machine(architecture: &str) -> Platform {
    Platform { os: "linux".into(), architecture: architecture.into(), variant: None }
}

/// Which entry is chosen, if one is.
fn chosen(architecture: &str, platforms: &[&str]) -> Option<u64> {
    index(platforms).choose(&machine(architecture)).ok().map(|(manifest, _)| manifest.size)
}

#[test]
fn the_best_that_runs_is_chosen() {
    let everything = ["windows/amd64", "linux/386", "linux/arm/v5", "linux/arm/v7", "linux/arm64/v8", "linux/amd64"];
    assert_eq!(chosen("amd64", &everything), Some(5));
    assert_eq!(chosen("arm64", &everything), Some(4));
    assert_eq!(chosen("arm", &everything), Some(3));
    assert_eq!(chosen("arm", &["linux/arm/v5", "linux/arm/v6"]), Some(1));
    assert_eq!(chosen("arm64", &["linux/arm64/v9", "linux/arm64"]), Some(1));
    assert_eq!(chosen("amd64", &["linux/amd64/v3", "linux/amd64/v2", "linux/amd64/v1"]), Some(2));
    assert_eq!(chosen("amd64", &["linux/amd64/v3", "linux/amd64/v2"]), Some(1), "nothing else is left");
    assert_eq!(chosen("amd64", &["linux/amd64", "linux/amd64"]), Some(0), "the first of equals");
    assert_eq!(chosen("riscv64", &["linux/riscv64/rva23", "linux/riscv64"]), Some(1));
}

#[test]
fn an_entry_without_a_platform_is_the_last_choice() {
    assert_eq!(chosen("amd64", &["", "linux/amd64/v4"]), Some(1));
    assert_eq!(chosen("amd64", &["", "linux/arm64"]), Some(0));
}

#[test]
fn what_there_is_for_others_is_listed_without_attestations() {
    let error = index(&["linux/arm64/v8", "unknown/unknown", "linux/arm64/v9"]).choose(&machine("amd64")).unwrap_err();
    let text = error.to_string();
    assert!(text.ends_with("(linux/amd64); there are: linux/arm64/v8, linux/arm64/v9"), "{text}");
    assert_eq!(chosen("arm64", &["linux/arm64/v9"]), None);
    let many = index(&["linux/arm64"; 30]).choose(&machine("amd64")).unwrap_err().to_string();
    assert!(many.ends_with(" and 6 more"), "{many}");
}

#[test]
fn entries_that_are_no_images_are_left_out() {
    let mut nested = entry(0, "linux/amd64");
    nested["mediaType"] = json!(MediaType::OciIndex.as_str());
    let mut artifact = entry(1, "linux/amd64");
    artifact["mediaType"] = json!("application/vnd.in-toto+json");
    let refused = |entries: &[&Value]| {
        let index = parse(&json!({"schemaVersion": 2, "manifests": entries})).unwrap();
        index.choose(&machine("amd64")).unwrap_err()
    };
    let error = refused(&[&artifact]);
    assert!(error.to_string().ends_with("none"), "{error}");
    assert!(matches!(refused(&[&nested, &artifact]), DocumentError::Nested), "there is something, out of reach");
    let error = refused(&[&nested, &entry(2, "linux/arm64")]);
    assert!(error.to_string().ends_with("linux/arm64"), "{error}");
}

#[test]
fn a_document_is_one_thing_only() {
    let with = |member: &str, value: Value| {
        let mut document = json!({"schemaVersion": 2, "manifests": []});
        document[member] = value;
        parse(&document)
    };
    assert!(with("mediaType", json!(MediaType::OciIndex.as_str())).is_ok());
    assert!(matches!(with("mediaType", json!(MANIFEST)), Err(DocumentError::MediaType { .. })));
    assert!(matches!(with("layers", json!([])), Err(DocumentError::Ambiguous { member: "layers", .. })));
    assert!(matches!(with("config", json!({})), Err(DocumentError::Ambiguous { member: "config", .. })));
    assert!(matches!(with("schemaVersion", json!(1)), Err(DocumentError::SchemaVersion { found: 1, .. })));
    assert!(matches!(with("manifests", json!({})), Err(DocumentError::Malformed { .. })));
    let entries: Vec<_> = (0..=INDEX_ENTRIES_MAX).map(|size| entry(size, "")).collect();
    assert!(matches!(with("manifests", json!(entries)), Err(DocumentError::TooMany { count: 513, .. })));
    let large = vec![b' '; MANIFEST_BYTES_MAX + 1];
    assert!(matches!(ImageIndex::parse(&large, MediaType::OciIndex), Err(DocumentError::TooLarge { .. })));
}

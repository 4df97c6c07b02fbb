//! docs/manifest.md is true and complete.

use super::{
    super::{known::Known, kserve, kubernetes},
    *,
};

fn documentation() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/manifest.md");
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn it_shows_manifests_of_all_kinds() {
    let text = documentation();
    let shown: Vec<Manifest> = text
        .split("```yaml\n")
        .skip(1)
        .map(|after| after.split_once("```").unwrap().0)
        .inspect(|yaml| assert_eq!(only(yaml).notes, [], "{yaml}"))
        .map(only)
        .collect();
    let images = shown.iter().filter(|manifest| matches!(manifest.source, Source::Image(_))).count();
    assert_eq!((shown.len(), images), (5, 4));
}

#[test]
fn it_names_every_annotation() {
    let text = documentation();
    for key in crate::ANNOTATION_KEYS.into_iter().chain(crate::ANNOTATION_KEYS_OF_IMAGES) {
        assert!(text.contains(&format!("/{key}`")), "{key}");
    }
}

#[test]
fn it_names_every_field_of_a_pod_that_is_not_honoured() {
    let text = documentation();
    let tables: [&[Known]; 19] = [
        kserve::SPEC,
        kubernetes::POD_SPEC,
        kubernetes::CONTAINER,
        kubernetes::LIFECYCLE,
        kubernetes::PORT,
        kubernetes::VALUE_FROM,
        kubernetes::POD_SECURITY,
        kubernetes::SECURITY,
        kubernetes::SECCOMP,
        kubernetes::PROBE,
        kubernetes::HTTP_GET,
        kubernetes::TCP_SOCKET,
        kubernetes::EMPTY_DIR,
        kubernetes::PROJECTED_SOURCE,
        kubernetes::VOLUME_MOUNT,
        kubernetes::OS,
        kubernetes::RESOURCES,
        super::super::knative::REVISION,
        super::super::knative::REVISION_METADATA,
    ];
    let words: std::collections::HashSet<&str> = text.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    for name in tables.into_iter().flatten().flat_map(|group| group.names) {
        assert!(words.contains(name), "{name}");
    }
}

#[test]
fn it_names_every_capability_of_root() {
    let text = documentation();
    for name in kubernetes::CAPABILITIES_OF_ROOT {
        assert!(text.contains(name) && kubernetes::ADD_REASON.contains(name), "{name}");
    }
}

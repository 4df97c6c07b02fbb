//! Registries that are asked before another.

use dormouse_tests::{
    BadRegistry, Fault, Home, Registry,
    bad_registry::Times,
    oci_image::{ImageBuilder, Layout},
};
use serde_json::Value;

use super::{home, inspect, names, pull};

fn with_mirror(home: Home, registry: &str, mirror: std::net::SocketAddr) -> Home {
    home.set("images", "mirrors", &format!("{{ {registry:?} = [\"{mirror}\"] }}"))
}

#[test]
fn a_mirror_stands_in_for_a_registry_that_cannot_be_reached() {
    let mirror = Registry::start();
    let directory = tempfile::tempdir().unwrap();
    let image = ImageBuilder::of_file("a", "one").build();
    mirror.push(&Layout::of(directory.path(), &image, "a"), "library/app:a");
    let daemon = with_mirror(home(&[mirror.address()]), "docker.io", mirror.address()).start();
    pull(&daemon, "app:a");
    // It has the name that it was asked by.
    assert_eq!(inspect(&daemon, "docker.io/library/app:a")["digest"], image.digest());
    assert_eq!(names(&daemon), ["docker.io/library/app:a"]);
}

#[test]
fn the_registry_is_asked_where_a_mirror_fails() {
    let directory = tempfile::tempdir().unwrap();
    let image = ImageBuilder::of_file("a", "one").build();
    let layout = Layout::of(directory.path(), &image, "a");
    let registry = Registry::start();
    registry.push(&layout, "app:a");
    for fault in [Fault::NotFound, Fault::ServerError(Times::Always), Fault::FlipsLayer, Fault::NoChallenge] {
        let mirror = BadRegistry::start(&layout, fault);
        let home = home(&[registry.address(), mirror.address()]);
        let daemon = with_mirror(home, &registry.address().to_string(), mirror.address()).start();
        pull(&daemon, &registry.reference("app:a"));
        let digest: Value = inspect(&daemon, &registry.reference("app:a"))["digest"].clone();
        assert_eq!(digest, image.digest(), "{fault:?}");
        assert!(!mirror.asked().is_empty(), "{fault:?}");
    }
}

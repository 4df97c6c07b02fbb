//! Registries that want to know who asks.

use std::path::PathBuf;

use dormouse_tests::{
    BadRegistry, Fault, Home, Registry,
    oci_image::{ImageBuilder, Layout},
    registry::{BASIC, PASSWORD},
};
use serde_json::json;

use super::{home, names, pull};

/// `dormouse:summer`, who is nobody.
const WRONG: &str = "ZG9ybW91c2U6c3VtbWVy";

/// A docker `config.json` for one registry.
fn config(home: &Home, registry: &Registry, basic: &str) -> PathBuf {
    let auths = json!({ "auths": { registry.address().to_string(): { "auth": basic } } });
    home.write("docker/config.json", auths.to_string())
}

fn private() -> Registry {
    let registry = Registry::private();
    let directory = tempfile::tempdir().unwrap();
    registry.push(&Layout::of(directory.path(), &ImageBuilder::of_file("a", "one").build(), "a"), "app:a");
    registry
}

#[test]
fn the_nodes_own_credentials_open_a_private_registry() {
    let registry = private();
    let home = home(&[registry.address()]);
    let file = config(&home, &registry, BASIC);
    let daemon = home.set("images", "credentials", &format!("{file:?}")).start();
    pull(&daemon, &registry.reference("app:a"));
    assert_eq!(names(&daemon), [registry.reference("app:a")]);
    assert!(!daemon.log().contains(PASSWORD) && !daemon.log().contains(BASIC));
}

#[test]
fn the_callers_credentials_open_a_private_registry() {
    let registry = private();
    let home = home(&[registry.address()]);
    let directory = config(&home, &registry, BASIC).parent().unwrap().to_owned();
    let daemon = home.start();
    let reference = registry.reference("app:a");
    let mut command = daemon.command(&["image", "pull", &reference]);
    let _ = dormouse_tests::cli::run(command.env("DOCKER_CONFIG", directory)).ok();
    assert_eq!(names(&daemon), [reference]);
    assert!(!daemon.log().contains(PASSWORD) && !daemon.log().contains(BASIC));
}

#[test]
fn wrong_credentials_are_told_from_missing_ones() {
    let registry = private();
    let home = home(&[registry.address()]).variable("DOCKER_CONFIG", "/nonexistent");
    let reference = registry.reference("app:a");
    let file = config(&home, &registry, WRONG);
    let daemon = home.start();
    let told = daemon.cli(&["image", "pull", &reference]).failed(1);
    assert!(told.contains(&reference) && told.contains("not public") && told.contains("docker login"), "{told}");

    let mut command = daemon.command(&["image", "pull", &reference]);
    let told = dormouse_tests::cli::run(command.env("DOCKER_CONFIG", file.parent().unwrap())).failed(1);
    assert!(told.contains(&reference) && told.contains("credentials") && told.contains("refused"), "{told}");
    assert_eq!(names(&daemon), Vec::<String>::new());
}

#[test]
fn a_token_is_fetched_where_one_is_wanted() {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::of(directory.path(), &ImageBuilder::of_file("a", "one").build(), "a");
    let registry = BadRegistry::start(&layout, Fault::WantsToken);
    let daemon = home(&[registry.address()]).start();
    pull(&daemon, &registry.reference("app:a"));
    let asked = registry.asked();
    let token = asked.iter().find(|asked| asked.path.starts_with("/token")).expect("a token was asked for");
    assert!(token.path.contains("scope=repository%3Aapp%3Apull") || token.path.contains("scope=repository:app:pull"));
    assert_eq!(token.authorization, None);
}

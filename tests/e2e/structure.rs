//! The shape of the repository is the one that ARCHITECTURE.md describes.

use std::{collections::BTreeSet, fs, process::Command};

use dormouse_tests::{cli, paths};
use serde_json::Value;

/// Crate, and which of ours it may depend on.
const EDGES: [(&str, &[&str]); 14] = [
    ("spec", &[]),
    ("worker", &[]),
    // Its tests are driven through the door that the product has, by the driver.
    ("sandbox", &["spec", "driver"]),
    ("driver", &["spec", "sandbox"]),
    ("attacks", &["spec", "sandbox", "driver", "sandbox-weakened", "gateway", "gateway-weakened", "tests"]),
    // The sandbox's sources once more, so what they may know is the same.
    ("sandbox-weakened", &["spec"]),
    ("worker-weakened", &[]),
    ("controller-weakened", &["spec", "image", "sandbox-weakened"]),
    ("gateway-weakened", &["spec", "image", "sandbox-weakened", "controller-weakened", "worker-weakened"]),
    ("image", &["spec"]),
    ("controller", &["spec", "image", "sandbox"]),
    ("gateway", &["spec", "controller", "sandbox", "image", "worker"]),
    ("bench", &["spec", "sandbox", "image", "controller", "worker", "gateway"]),
    ("tests", &["spec", "sandbox", "image", "controller", "worker", "gateway"]),
];

fn packages() -> Vec<Value> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--format-version", "1", "--no-deps", "--offline"]).current_dir(paths::repository());
    cli::run(&mut cargo).json()["packages"].as_array().unwrap().clone()
}

fn ours(name: &Value) -> Option<&str> {
    name.as_str()?.strip_prefix("dormouse-")
}

#[test]
fn crates_depend_in_one_direction() {
    let packages = packages();
    let found: BTreeSet<&str> = packages.iter().filter_map(|package| ours(&package["name"])).collect();
    assert_eq!(found, EDGES.iter().map(|(name, _)| *name).collect());
    for package in &packages {
        let name = ours(&package["name"]).unwrap();
        let allowed = EDGES.iter().find(|(other, _)| *other == name).unwrap().1;
        // Tests of a crate keep to its direction too.
        for dependency in package["dependencies"].as_array().unwrap().iter().filter_map(|it| ours(&it["name"])) {
            assert!(allowed.contains(&dependency) || dependency == name, "{name} must not know {dependency}");
        }
    }
}

#[test]
fn the_architecture_names_every_crate_and_folder() {
    let text = fs::read_to_string(paths::repository().join("ARCHITECTURE.md")).unwrap();
    for (name, _) in EDGES {
        assert!(text.contains(&format!("`dormouse-{name}`")), "ARCHITECTURE.md does not name dormouse-{name}");
    }
    for entry in fs::read_dir(paths::repository()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let is_ours = entry.file_type().unwrap().is_dir() && name != "target" && !name.starts_with('.');
        assert!(!is_ours || text.contains(&format!("`{name}")), "ARCHITECTURE.md does not name the folder {name}");
    }
}

#[test]
fn links_of_the_documents_lead_somewhere() {
    for document in ["ARCHITECTURE.md", "README.md"] {
        let text = fs::read_to_string(paths::repository().join(document)).unwrap();
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
        for target in targets.filter(|target| !target.is_empty() && !target.contains("://")) {
            assert!(paths::repository().join(target).exists(), "{document} links to {target}");
        }
    }
}

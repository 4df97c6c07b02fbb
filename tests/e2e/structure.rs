//! The shape of the repository is the one that ARCHITECTURE.md describes.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use dormouse_tests::{cli, paths};
use serde_json::Value;

/// Crate, and which of ours it may depend on.
const EDGES: [(&str, &[&str]); 16] = [
    ("spec", &[]),
    ("worker", &[]),
    // Only ever dependencies of tests: the first fails file operations, the second is a daemon's node.
    ("faults", &[]),
    ("driver", &["spec", "sandbox"]),
    ("sandbox", &["spec", "faults", "driver"]),
    ("image", &["spec", "faults"]),
    ("controller", &["spec", "image", "sandbox", "faults"]),
    (
        "attacks",
        &["spec", "sandbox", "driver", "sandbox-weakened", "gateway", "gateway-weakened", "worker-weakened", "tests"],
    ),
    // Sources of the product once more, so what they may know is the same.
    ("sandbox-weakened", &["spec", "faults"]),
    ("worker-weakened", &[]),
    ("controller-weakened", &["spec", "image", "sandbox-weakened", "faults"]),
    ("gateway-weakened", &["spec", "image", "sandbox-weakened", "controller-weakened", "worker-weakened"]),
    ("gateway", &["spec", "controller", "sandbox", "image", "worker"]),
    ("bench", &["spec", "sandbox", "image", "controller", "worker", "gateway", "tests", "driver"]),
    ("tests", &["spec", "sandbox", "image", "controller", "worker", "gateway", "driver"]),
    ("fuzz", &["spec", "sandbox", "worker", "gateway"]),
];

/// Of the product's workspace and of that of the fuzz targets, which is built otherwise.
fn packages() -> Vec<Value> {
    let of_workspace = |manifest: &str| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["metadata", "--format-version", "1", "--no-deps", "--offline", "--manifest-path"]);
        cli::run(cargo.arg(paths::repository().join(manifest))).json()["packages"].as_array().unwrap().clone()
    };
    [of_workspace("Cargo.toml"), of_workspace("fuzz/Cargo.toml")].concat()
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
        let shipped = |dependency: &&Value| dependency["kind"].as_str() != Some("dev");
        let mut shipped = package["dependencies"].as_array().unwrap().iter().filter(shipped);
        assert!(shipped.all(|it| it["name"] != "dormouse-faults"), "{name} ships what only tests may use");
    }
}

/// Names and versions of a lock file's packages.
fn locked(path: &str) -> BTreeSet<(String, String)> {
    let text = fs::read_to_string(paths::repository().join(path)).unwrap();
    let value = |package: &str, key: &str| {
        let line = package.lines().find_map(|line| line.strip_prefix(&format!("{key} = \"")));
        line.unwrap_or_else(|| panic!("{package}")).trim_end_matches('"').to_owned()
    };
    text.split("[[package]]").skip(1).map(|package| (value(package, "name"), value(package, "version"))).collect()
}

/// Another version of a parser would be fuzzed than the one that is shipped.
#[test]
fn what_is_fuzzed_is_what_is_shipped() {
    const OF_FUZZING: [&str; 4] = ["arbitrary", "dormouse-fuzz", "jobserver", "libfuzzer-sys"];
    let others: Vec<_> = locked("fuzz/Cargo.lock").difference(&locked("Cargo.lock")).cloned().collect();
    let others: Vec<_> = others.iter().filter(|(name, _)| !OF_FUZZING.contains(&name.as_str())).collect();
    assert!(others.is_empty(), "fuzz/Cargo.lock has {others:?}: begin it with a copy of Cargo.lock");
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

/// Where the product reads a clock that people and time servers set, and what for. Nothing that decides
/// may: waits, deadlines, back-off and idle times would end early or never when it jumps.
const TIME_OF_DAY: [(&str, &str); 7] = [
    ("gateway/src/commands/status.rs", "shows how long ago a replica was started"),
    ("runtime/controller/src/logs/files.rs", "which log of an endpoint is the oldest"),
    ("runtime/controller/src/logs/stamp.rs", "when a line of a log was read, to be shown and chosen by"),
    ("runtime/controller/src/node.rs", "the first number of a replica's id; never one that lives"),
    ("runtime/image/src/store/images/names.rs", "when an image got its name, to be shown"),
    (
        "runtime/image/src/store/images/uses.rs",
        "which image was used the longest ago; the order holds where the clock is set",
    ),
    ("runtime/sandbox/src/spawner/replica.rs", "when a replica was started, to be shown"),
];

#[test]
fn only_named_places_read_the_time_of_day() {
    let root = paths::repository();
    let sources =
        ["gateway", "runtime/spec", "runtime/sandbox", "runtime/image", "runtime/controller", "runtime/worker"]
            .iter()
            .flat_map(|package| files_beneath(&root.join(package).join("src")));
    let reads_it = |path: &PathBuf| {
        let text = fs::read_to_string(path).unwrap();
        ["SystemTime", ".modified()", ".accessed()", "ClockId::Realtime"].iter().any(|name| text.contains(name))
    };
    let found: BTreeSet<PathBuf> =
        sources.filter(reads_it).map(|path| path.strip_prefix(&root).unwrap().to_owned()).collect();
    assert_eq!(found, TIME_OF_DAY.iter().map(|(path, _)| PathBuf::from(path)).collect());
}

fn files_beneath(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_beneath(&path) } else { vec![path] }).collect()
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

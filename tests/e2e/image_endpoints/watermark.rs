//! Images that nobody uses make room on a disk that is too full.

use std::collections::BTreeSet;

use dormouse_tests::{
    Daemon, Endpoint, Registry, SmallDisk,
    oci_image::{Compression, Entry, ImageBuilder, LayerBuilder, Layout},
    wait::until_true,
};

use super::{IMAGE, deploy_as_it_is, serves};
use crate::images;

/// Of the disk of the data directory, of which the daemon keeps 64 MiB free.
const DISK: &str = "size=256m";
/// Of the one layer of an image, which is stored as it came and unpacked.
const LAYER: u64 = 40 << 20;
/// Of one that has no room twice whatever goes, nor once beside others.
const LARGE_LAYER: u64 = 120 << 20;

/// A registry with these images: `app:one`, `app:two`, `app:three` or `app:large`.
fn registry(tags: &[&str]) -> Registry {
    let registry = Registry::start();
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::create(directory.path());
    for tag in tags {
        let bytes = if *tag == "large" { LARGE_LAYER } else { LAYER };
        let layer = LayerBuilder::new(Compression::Plain).entry(Entry::zeros(tag, bytes)).build();
        layout.add(&ImageBuilder::new().layer(layer).build(), tag);
        registry.push(&layout, &format!("app:{tag}"));
    }
    registry
}

/// A daemon with a small disk, where images make room above `high` percent of it until no more than `low` is in use.
fn start(registry: &Registry, high: u8, low: u8) -> (SmallDisk, Daemon) {
    let home = images::home(&[registry.address()])
        .set("images", "gc_high_threshold_percent", &high.to_string())
        .set("images", "gc_low_threshold_percent", &low.to_string())
        .set("images", "minimum_gc_age", "\"0s\"");
    let disk = SmallDisk::at(&home.data(), DISK);
    (disk, home.start())
}

fn pull(daemon: &Daemon, reference: &str) {
    let _ = daemon.cli(&["image", "pull", reference]).ok();
}

fn until_images(daemon: &Daemon, expected: &[&str]) {
    let expected: BTreeSet<String> = expected.iter().map(|&name| name.to_owned()).collect();
    until_true(format!("the images are {expected:?}"), || named(daemon) == expected);
}

fn named(daemon: &Daemon) -> BTreeSet<String> {
    let listed = daemon.admin("/v1/images").json();
    listed.as_array().unwrap().iter().map(|image| image["reference"].as_str().unwrap().to_owned()).collect()
}

/// Bytes in use of the disk that images are on.
fn used(daemon: &Daemon) -> u64 {
    let disk = rustix::fs::statvfs(daemon.home().data()).unwrap();
    (disk.f_blocks - disk.f_bfree) * disk.f_frsize
}

#[test]
fn what_nobody_used_for_the_longest_time_goes_and_what_an_endpoint_runs_stays() {
    let registry = registry(&["one", "two"]);
    let [one, two] = ["app:one", "app:two"].map(|name| registry.reference(name));
    let (_disk, daemon) = start(&registry, 60, 50);
    // What was used the longest ago is what an endpoint runs.
    deploy_as_it_is(&daemon, "hello");
    pull(&daemon, &one);
    let digest = daemon.cli(&["image", "inspect", &one, "--json"]).json()["digest"].as_str().unwrap().to_owned();
    assert_eq!(named(&daemon).len(), 2, "that is below the threshold");
    pull(&daemon, &two);
    until_images(&daemon, &[IMAGE, &two]);
    until_true("its layers are gone too", || used(&daemon) < 3 * LAYER);
    serves(&daemon, "hello");
    let counted = |name| daemon.metrics().sum(name, &[]);
    until_true("it is counted", || counted("dormouse_images_removed_total") == 1.0);
    assert!(counted("dormouse_image_bytes_removed_total") >= 2.0 * LAYER as f64);
    let log = daemon.log();
    let told = log.lines().find(|line| line.contains("was removed")).unwrap_or_else(|| panic!("{log}"));
    for part in [one.as_str(), digest.as_str(), "bytes_freed", "gc_high_threshold_percent"] {
        assert!(told.contains(part), "{told}");
    }

    let disk = &daemon.admin("/v1/node").json()["image_disk"];
    assert_eq!((&disk["capacity"], &disk["gc_high_threshold_percent"]), (&"256Mi".into(), &60.into()));

    // The order of uses is the same after a restart.
    let daemon = daemon.restart();
    pull(&daemon, &one);
    until_images(&daemon, &[IMAGE, &one]);
    serves(&daemon, "hello");

    // The endpoint gave its image up later than the other was pulled.
    Endpoint::of(&daemon, "hello").delete();
    pull(&daemon, &two);
    until_images(&daemon, &[IMAGE, &two]);
}

#[test]
fn what_has_no_room_gets_it_from_images_that_nobody_uses_and_costs_none_where_that_is_not_enough() {
    let registry = registry(&["one", "two", "three", "large"]);
    let [one, two, three, large] =
        ["app:one", "app:two", "app:three", "app:large"].map(|name| registry.reference(name));
    let (_disk, daemon) = start(&registry, 95, 90);
    [&one, &two, &three].iter().for_each(|name| pull(&daemon, name));
    until_images(&daemon, &[&two, &three]);
    let told = daemon.cli(&["image", "pull", &large]).failed(1);
    assert!(told.contains("too full"), "{told}");
    assert_eq!(named(&daemon), [two.clone(), three.clone()].into());

    let archive = daemon.home().path().join("two.tar");
    let _ = daemon.cli(&["image", "export", &two, "-o", archive.to_str().unwrap()]).ok();
    let _ = daemon.cli(&["image", "rm", &two]).ok();
    pull(&daemon, &one);
    let _ = daemon.cli(&["image", "import", archive.to_str().unwrap()]).ok();
    until_images(&daemon, &[&one, &two]);
}

#[test]
fn that_nothing_more_may_go_is_told_once() {
    const TOLD: &str = "no further image may be removed";
    let registry = registry(&["one"]);
    let one = registry.reference("app:one");
    let (_disk, daemon) = start(&registry, 3, 2);
    deploy_as_it_is(&daemon, "hello");
    // Neither an image nor of the daemon.
    std::fs::write(daemon.home().data().join("other"), vec![0; 20 << 20]).unwrap();
    pull(&daemon, &one);
    until_images(&daemon, &[IMAGE]);
    until_true("it is told", || daemon.log().contains(TOLD));
    serves(&daemon, "hello");
    pull(&daemon, &one);
    until_images(&daemon, &[IMAGE]);
    // What follows a removal was done before the next one.
    pull(&daemon, &one);
    until_true("a third time", || daemon.log().matches("was removed").count() == 3);
    let log = daemon.log();
    assert_eq!(log.matches(TOLD).count(), 1, "{log}");
}

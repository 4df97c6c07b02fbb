//! A daemon that dies while images come, and one that starts where it died.

use std::{fs, thread};

use dormouse_tests::{
    BadRegistry, Fault, Home, Registry,
    bad_registry::Times,
    oci_image::{Compression, Entry, ImageBuilder, LayerBuilder},
    processes,
    wait::until_true,
};
use rustix::process::Signal;

use super::{built, check_no_garbage, entries, home, inspect, names, pull, serving};

/// An image of which one layer is there at once, and the other one comes to a halt once.
fn halting() -> (tempfile::TempDir, BadRegistry) {
    let zeros = |name: &str| LayerBuilder::new(Compression::Plain).entry(Entry::zeros(name, 1 << 20)).build();
    let image = ImageBuilder::new().layer(zeros("one")).layer(zeros("two")).build();
    serving(&image, Fault::StallsLayer(Times::First(1)))
}

/// Whether a transfer is in the store and not finished.
fn has_unfinished(home: &Home) -> bool {
    let entries = fs::read_dir(home.data().join("images")).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).any(|name| name.starts_with(".incoming"))
}

#[test]
fn a_killed_daemon_leaves_a_store_that_works() {
    let (_directory, registry) = halting();
    let reference = registry.reference("app:a");
    let daemon = home(&[registry.address()]).start();
    let home = daemon.home_shared();
    let pulling = thread::spawn({
        let (home, reference) = (daemon.home_shared(), reference.clone());
        move || home.cli(&["image", "pull", &reference])
    });
    until_true("a layer halts", || registry.asked_of_blobs().len() == 3 && has_unfinished(&home));
    let daemon = daemon.kill().start_again();
    assert_ne!(pulling.join().unwrap().code, Some(0));
    assert!(!has_unfinished(&home));
    assert_eq!(names(&daemon), Vec::<String>::new());
    check_no_garbage(&daemon);

    pull(&daemon, &reference);
    check_no_garbage(&daemon);
    assert_eq!(names(&daemon), [reference]);
}

#[test]
fn a_killed_node_leaves_a_store_that_works() {
    let (_directory, registry) = halting();
    let reference = registry.reference("app:a");
    let daemon = home(&[registry.address()]).start();
    let pulling = thread::spawn({
        let (home, reference) = (daemon.home_shared(), reference.clone());
        move || home.cli(&["image", "pull", &reference])
    });
    until_true("a layer halts", || registry.asked_of_blobs().len() == 3 && has_unfinished(daemon.home()));
    processes::kill(daemon.node_pid(), Signal::KILL);
    assert_ne!(pulling.join().unwrap().code, Some(0));
    // Asked again as soon as the next one is there.
    until_true("the image is pulled", || daemon.cli(&["image", "pull", &reference]).code == Some(0));
    check_no_garbage(&daemon);
}

#[test]
fn a_pull_that_nobody_waits_for_ends() {
    let (_directory, registry) = halting();
    let daemon = home(&[registry.address()]).start();
    let mut pulling = daemon.command(&["image", "pull", &registry.reference("app:a")]).spawn().unwrap();
    until_true("a layer halts", || registry.asked_of_blobs().len() == 3 && has_unfinished(daemon.home()));
    let layers = daemon.home().data().join("layers");
    until_true("the other is whole", || entries(&layers).iter().any(|name| name.starts_with("sha256-")));
    pulling.kill().unwrap();
    pulling.wait().unwrap();
    until_true("it is given up", || !has_unfinished(daemon.home()));
    pull(&daemon, &registry.reference("app:a"));
    assert_eq!(registry.asked_of_blobs().len(), 4, "what came whole is not asked for again");
    check_no_garbage(&daemon);
}

#[test]
fn images_outlive_the_daemon() {
    let registry = Registry::start();
    registry.push(&built("busybox-httpd"), "web:latest");
    let reference = registry.reference("web:latest");
    let daemon = home(&[registry.address()]).start();
    pull(&daemon, &reference);
    let status = inspect(&daemon, &reference);
    let daemon = daemon.kill().start_again();
    assert_eq!(inspect(&daemon, &reference), status);
    check_no_garbage(&daemon);
    let daemon = daemon.restart();
    assert_eq!(inspect(&daemon, &reference), status);
}

#[test]
fn a_damaged_index_deletes_nothing() {
    let registry = Registry::start();
    registry.push(&built("busybox-httpd"), "web:latest");
    let reference = registry.reference("web:latest");
    let daemon = home(&[registry.address()]).start();
    pull(&daemon, &reference);
    let status = inspect(&daemon, &reference);
    let home = daemon.kill();
    let index = home.data().join("images/index.json");
    let good = fs::read(&index).unwrap();
    fs::write(&index, "{").unwrap();
    let daemon = home.start_again();
    let told = daemon.cli(&["image", "pull", &reference]);
    assert!(told.code == Some(1) && told.stderr.contains("index.json"), "{}", told.stderr);
    let home = daemon.kill();
    fs::write(&index, good).unwrap();
    let daemon = home.start_again();
    assert_eq!(inspect(&daemon, &reference), status, "layers and blobs are still there");
    check_no_garbage(&daemon);
}

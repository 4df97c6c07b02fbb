//! Images that are no longer wanted give their place back.

use dormouse_tests::{
    Daemon, Registry,
    oci_image::{Compression, Entry, ImageBuilder, Layer, LayerBuilder, Layout},
};

use super::{check_no_garbage, entries, home, inspect, layer, names, pull, store};

const LARGE: u64 = 8 << 20;

fn large(name: &str) -> Layer {
    LayerBuilder::new(Compression::Plain).entry(Entry::zeros(name, LARGE)).build()
}

/// A registry with images `app:one` and `app:two`, of a common layer and one of their own each.
fn with_two_images() -> (Registry, Daemon) {
    let registry = Registry::start();
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::create(directory.path());
    for tag in ["one", "two"] {
        layout.add(&ImageBuilder::new().layer(large("base")).layer(large(tag)).build(), tag);
        registry.push(&layout, &format!("app:{tag}"));
    }
    let daemon = home(&[registry.address()]).start();
    ["app:one", "app:two"].iter().for_each(|name| pull(&daemon, &registry.reference(name)));
    (registry, daemon)
}

/// Bytes on disk of all that images are made of.
fn disk_use(daemon: &Daemon) -> u64 {
    let output = std::process::Command::new("du")
        .args(["-sB1", "--total", "images", "layers"])
        .current_dir(daemon.home().data())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().last().and_then(|line| line.split_whitespace().next()?.parse().ok()).expect("a sum")
}

#[test]
fn a_removed_image_gives_back_what_no_other_needs() {
    let (registry, daemon) = with_two_images();
    let (one, two) = (registry.reference("app:one"), registry.reference("app:two"));
    let kept = inspect(&daemon, &two);
    let before = disk_use(&daemon);
    // A blob and a tree.
    let _ = daemon.cli(&["image", "rm", &one]).ok();
    assert!(before - disk_use(&daemon) >= 2 * LARGE, "{before}");
    assert_eq!(names(&daemon), [two.as_str()]);
    assert_eq!(inspect(&daemon, &two), kept);
    check_no_garbage(&daemon);

    let _ = daemon.cli(&["image", "rm", &two]).ok();
    assert_eq!(names(&daemon), Vec::<String>::new());
    assert_eq!(store(daemon.home()).blobs().len(), 0);
    assert_eq!(entries(&daemon.home().data().join("layers")).len(), 0);
    pull(&daemon, &one);
    check_no_garbage(&daemon);
}

#[test]
fn a_prune_takes_what_no_endpoint_uses() {
    let (registry, daemon) = with_two_images();
    let told = daemon.cli(&["image", "prune", "--json"]).json();
    let mut pruned: Vec<&str> = told["images"].as_array().unwrap().iter().filter_map(|name| name.as_str()).collect();
    pruned.sort_unstable();
    assert_eq!(pruned, [registry.reference("app:one"), registry.reference("app:two")]);
    assert_eq!((names(&daemon).len(), store(daemon.home()).blobs().len()), (0, 0));
    check_no_garbage(&daemon);
}

#[test]
fn what_is_not_there_cannot_be_removed() {
    let (registry, daemon) = with_two_images();
    let one = registry.reference("app:one");
    let told = daemon.cli(&["image", "rm", &one, "example.org/none:1"]).failed(1);
    assert!(told.contains("example.org/none:1") && told.contains("image ls"), "{told}");
    // All of them or none.
    assert_eq!(names(&daemon).len(), 2);
    let base = &super::diff_ids(&inspect(&daemon, &one))[0];
    assert!(layer(daemon.home(), base).exists());
}

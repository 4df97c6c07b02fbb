//! Images that were built to reach what is not theirs, through the door that every image comes by.

use std::{fs, path::Path};

use dormouse_tests::{
    BadRegistry, Daemon, Fault,
    oci_image::{Compression, Entry, ImageBuilder, Layer, LayerBuilder},
};
use serde_json::Value;
use tempfile::TempDir;

use super::{check_no_garbage, diff_ids, home, inspect, layer, names, pull, serving};

/// What an attack that got out of its layer would leave. Nothing else has this name.
const ESCAPED: &str = "dormouse-test-escaped";
/// What one layer may hold in these tests.
const LAYER_BYTES_MAX: u64 = 4 << 20;

/// A name, the layer, and words of its refusal.
type Refused = (&'static str, Layer, &'static [&'static str]);

fn layer_of(entries: impl IntoIterator<Item = Entry>) -> Layer {
    entries.into_iter().fold(LayerBuilder::new(Compression::Gzip), LayerBuilder::entry).build()
}

fn refused() -> Vec<Refused> {
    let up = "../".repeat(20);
    let file = |path: String| layer_of([Entry::file(path, "escaped")]);
    let whiteout = |path: String| layer_of([Entry::file(path, "")]);
    vec![
        ("a name that climbs", file(format!("{up}tmp/{ESCAPED}")), &["`..`"]),
        ("a name that climbs from inside", file(format!("a/b/{up}tmp/{ESCAPED}")), &["`..`"]),
        ("a hard link out", layer_of([Entry::hardlink("passwd", format!("{up}etc/passwd"))]), &["passwd"]),
        ("a hard link to the host's", layer_of([Entry::hardlink("passwd", "/etc/passwd")]), &["passwd"]),
        ("a whiteout that climbs", whiteout(format!("{up}tmp/.wh.{ESCAPED}")), &["`..`"]),
        ("a whiteout of the parent", whiteout("a/.wh...".to_owned()), &["a/.wh..."]),
        ("an id beyond the range", layer_of([Entry::file("a", "").owner(70_000, 0)]), &["`a`", "70000"]),
        ("a device that passes for a whiteout", layer_of([Entry::character_device("a", 0, 0)]), &["`a`", "0:0"]),
        ("a bomb", layer_of([Entry::zeros("a", 64 << 20)]), &["more than", "limit"]),
        ("a size that is a lie", layer_of([Entry::file("a", "short").size(1 << 40)]), &["`a`"]),
        ("what is no archive", LayerBuilder::new(Compression::Gzip).raw(&[b'x'; 2048]).build(), &["damaged"]),
    ]
}

#[test]
fn a_layer_that_leaves_its_place_is_refused() {
    let rows = refused();
    let served: Vec<(TempDir, BadRegistry)> = rows
        .iter()
        .map(|(_, layer, _)| serving(&ImageBuilder::new().layer(layer.clone()).build(), Fault::Nothing))
        .collect();
    let addresses: Vec<_> = served.iter().map(|(_, registry)| registry.address()).collect();
    let daemon = home(&addresses).set("images", "layer_bytes_max", &LAYER_BYTES_MAX.to_string()).start();
    let links = fs::metadata("/etc/passwd").map(|file| std::os::unix::fs::MetadataExt::nlink(&file)).unwrap();
    let mut failures = Vec::new();
    for ((name, _, words), (_, registry)) in rows.iter().zip(&served) {
        let told = daemon.cli(&["image", "pull", &registry.reference("app:a")]);
        if told.code != Some(1) || words.iter().any(|word| !told.stderr.contains(word)) {
            failures.push(format!("{name}: exit {:?}, no {words:?} in: {}", told.code, told.stderr));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(!Path::new("/tmp").join(ESCAPED).exists());
    assert_eq!(fs::metadata("/etc/passwd").map(|file| std::os::unix::fs::MetadataExt::nlink(&file)).unwrap(), links);
    assert_eq!(names(&daemon), Vec::<String>::new());
    check_no_garbage(&daemon);
}

/// A daemon that has an image of this layer, and what it tells of it.
fn pulled(layer: Layer) -> (Daemon, BadRegistry, Value) {
    let (_directory, registry) = serving(&ImageBuilder::new().layer(layer).build(), Fault::Nothing);
    let daemon = home(&[registry.address()]).start();
    pull(&daemon, &registry.reference("app:a"));
    let status = inspect(&daemon, &registry.reference("app:a"));
    (daemon, registry, status)
}

/// Where the layer is that [`pulled`] has.
fn tree(daemon: &Daemon, status: &Value) -> std::path::PathBuf {
    layer(daemon.home(), &diff_ids(status)[0]).join("sealed/tree")
}

#[test]
fn a_link_leads_nowhere_while_a_layer_is_unpacked() {
    let outside = tempfile::Builder::new().prefix(ESCAPED).tempdir_in("/tmp").unwrap();
    let outside = outside.path();
    let up = "../".repeat(20);
    let relative = format!("{up}{}", outside.strip_prefix("/").unwrap().display());
    let entries = [
        Entry::symlink("absolute", outside.to_str().unwrap()),
        Entry::file("absolute/file", "escaped"),
        Entry::symlink("relative", relative),
        Entry::file("relative/file", "escaped"),
        Entry::symlink("a", "b"),
        Entry::symlink("b", "a"),
    ];
    let (_directory, registry) = serving(&ImageBuilder::new().layer(layer_of(entries)).build(), Fault::Nothing);
    let daemon = home(&[registry.address()]).start();
    // Refused or not: it writes nothing there.
    let told = daemon.cli(&["image", "pull", &registry.reference("app:a")]);
    assert!(matches!(told.code, Some(0 | 1)), "{}", told.stderr);
    assert_eq!(fs::read_dir(outside).unwrap().count(), 0);
    check_no_garbage(&daemon);
}

#[test]
fn an_absolute_name_is_one_of_the_layers() {
    let (daemon, _registry, status) = pulled(layer_of([Entry::file(format!("/tmp/{ESCAPED}"), "inside")]));
    assert!(!Path::new("/tmp").join(ESCAPED).exists());
    assert_eq!(fs::read_to_string(tree(&daemon, &status).join("tmp").join(ESCAPED)).unwrap(), "inside");
}

#[test]
fn devices_are_left_out_and_told() {
    let entries =
        [Entry::directory("dev"), Entry::block_device("dev/disk", 8, 0), Entry::character_device("dev/mem", 1, 1)];
    let (daemon, _registry, status) = pulled(layer_of(entries));
    assert_eq!(status["details"]["layers"][0]["left_out"]["devices"], 2, "{status}");
    assert_eq!(fs::read_dir(tree(&daemon, &status).join("dev")).unwrap().count(), 0);
}

#[test]
fn nobody_of_the_host_reaches_a_set_user_id_file() {
    use std::os::unix::fs::MetadataExt;
    let (daemon, _registry, status) = pulled(layer_of([Entry::file("su", "#!/bin/sh\n").mode(0o6755)]));
    let file = fs::metadata(tree(&daemon, &status).join("su")).unwrap();
    // Neither root's, nor behind a path that anybody else can walk.
    assert!(file.uid() != 0 && file.gid() != 0);
    let sealed = fs::metadata(layer(daemon.home(), &diff_ids(&status)[0]).join("sealed")).unwrap();
    assert_eq!((sealed.uid(), sealed.mode() & 0o077), (0, 0));
}

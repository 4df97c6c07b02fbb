//! Images, from registries and archives into the store and out of it, through the command line.

mod archives;
mod attacks;
mod crash;
mod credentials;
mod faults;
mod mirrors;
mod pull;
mod removal;
mod trees;

use std::{collections::BTreeSet, fs, net::SocketAddr, path::PathBuf};

use dormouse_tests::{
    BadRegistry, Daemon, Fault, Home,
    oci_image::{Image, Layout},
    paths,
    wait::until_true,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::real;

/// Whose daemon speaks plain HTTP to these registries.
pub(crate) fn home(registries: &[SocketAddr]) -> Home {
    insecure(real(), registries)
}

fn insecure(home: Home, registries: &[SocketAddr]) -> Home {
    let quoted: Vec<String> = registries.iter().map(|address| format!("\"{address}\"")).collect();
    home.set("images", "insecure_registries", &format!("[{}]", quoted.join(", ")))
}

/// One of the images that set-up built, whose tag is `latest`.
pub(crate) fn built(name: &str) -> Layout {
    Layout::open(paths::setup("images").join(name))
}

fn pull(daemon: &Daemon, reference: &str) {
    let _ = daemon.cli(&["image", "pull", reference]).ok();
}

/// What `image inspect` tells.
#[track_caller]
fn inspect(daemon: &Daemon, reference: &str) -> Value {
    daemon.cli(&["image", "inspect", reference, "--json"]).json()
}

/// Names of all images.
fn names(daemon: &Daemon) -> Vec<String> {
    let listed = daemon.cli(&["image", "ls", "--json"]).json();
    let names = listed.as_array().expect("a list").iter().map(|image| image["reference"].as_str().expect("a name"));
    names.map(str::to_owned).collect()
}

/// A registry of one image, `app:a`, which is this one, and its directory.
fn serving(image: &Image, fault: Fault) -> (TempDir, BadRegistry) {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::of(directory.path(), image, "a");
    (directory, BadRegistry::start(&layout, fault))
}

/// The store of blobs, which is an image layout itself.
fn store(home: &Home) -> Layout {
    Layout::open(home.data().join("images"))
}

/// Where a layer is unpacked, by the digest of its archive.
fn layer(home: &Home, diff_id: &str) -> PathBuf {
    home.data().join("layers").join(diff_id.replace(':', "-"))
}

/// Digests of the archives of all layers that an image has.
fn diff_ids(status: &Value) -> Vec<String> {
    let layers = status["details"]["layers"].as_array().expect("layers").iter();
    layers.map(|layer| layer["diff_id"].as_str().expect("a digest").to_owned()).collect()
}

/// Waits until the store has what its images need and nothing else, finished or not: what is no longer needed is
/// deleted behind whoever made it so.
#[track_caller]
fn check_no_garbage(daemon: &Daemon) {
    let home = daemon.home();
    let images = store(home);
    until_true("every blob is needed", || images.blobs() == images.reachable());
    let is_unfinished = |name: &String| name.starts_with(".incoming");
    until_true("nothing is unfinished", || !entries(images.directory()).iter().any(is_unfinished));
    let needed: BTreeSet<String> =
        names(daemon).iter().flat_map(|name| diff_ids(&inspect(daemon, name))).map(|id| id.replace(':', "-")).collect();
    until_true(format!("the unpacked layers are {needed:?}"), || entries(&home.data().join("layers")) == needed);
}

fn entries(directory: &std::path::Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

//! Debian's skopeo: copies images between registries, layouts and archives, and tells what they are.

use std::process::Command;

use serde_json::Value;

use crate::{Told, cli};

/// Runs it. Registries of tests speak plain HTTP, and nobody signs.
#[must_use]
pub fn run(verb: &str, arguments: &[&str]) -> Told {
    let mut skopeo = Command::new("skopeo");
    // Without credentials and mirrors of whoever runs the tests.
    skopeo.env("HOME", "/nonexistent");
    ["XDG_RUNTIME_DIR", "REGISTRY_AUTH_FILE", "DOCKER_CONFIG"].iter().for_each(|name| {
        skopeo.env_remove(name);
    });
    skopeo.args(["--insecure-policy", verb]).args(arguments);
    cli::run(&mut skopeo)
}

/// Copies an image as it is, every platform of it.
///
/// # Panics
/// Where that fails.
#[track_caller]
pub fn copy(from: &str, to: &str, options: &[&str]) {
    let own = ["--quiet", "--all", "--src-tls-verify=false", "--dest-tls-verify=false", from, to];
    let _ = run("copy", &[options, &own].concat()).ok();
}

/// Copies the image for this machine to where there can be one only, changing what has to be changed for that.
///
/// # Panics
/// Where that fails.
#[track_caller]
pub fn copy_one(from: &str, to: &str) {
    let _ = run("copy", &["--quiet", from, to]).ok();
}

/// What an image is, as skopeo sees it.
///
/// # Panics
/// Where it sees none.
#[track_caller]
#[must_use]
pub fn inspect(image: &str, options: &[&str]) -> Value {
    run("inspect", &[options, &["--tls-verify=false", image]].concat()).json()
}

/// The digest of an image's manifest or index.
///
/// # Panics
/// Where there is no such image.
#[track_caller]
#[must_use]
pub fn digest(image: &str) -> String {
    let raw = run("inspect", &["--raw", "--tls-verify=false", image]).ok().stdout;
    crate::oci_image::digest(raw.as_bytes())
}

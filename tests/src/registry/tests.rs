use tempfile::tempdir;

use super::*;
use crate::oci_image::ImageBuilder;

#[test]
fn what_was_pushed_is_there_byte_by_byte() {
    let registry = Registry::start();
    let directory = tempdir().unwrap();
    let image = ImageBuilder::of_file("a", "one").entrypoint(&["/a"]).build();
    registry.push(&Layout::of(directory.path(), &image, "1.0"), "team/app:1.0");
    let pushed = format!("docker://{}", registry.reference("team/app:1.0"));
    assert_eq!(skopeo::digest(&pushed), image.digest());
    assert_eq!(skopeo::inspect(&pushed, &["--config"])["config"]["Entrypoint"], json!(["/a"]));

    assert_eq!(registry.blobs_read(), 1, "{:?}", registry.requests());
    skopeo::copy(&pushed, &format!("dir:{}", directory.path().join("copy").display()), &[]);
    assert_eq!(registry.blobs_read(), 3, "{:?}", registry.requests());
}

#[test]
fn a_private_registry_takes_its_user_alone() {
    let registry = Registry::private();
    let directory = tempdir().unwrap();
    let image = ImageBuilder::of_file("a", "one").build();
    registry.push(&Layout::of(directory.path(), &image, "1"), "app:1");
    let pushed = format!("docker://{}", registry.reference("app:1"));
    let inspect = |credentials: &str| skopeo::run("inspect", &["--tls-verify=false", credentials, &pushed]);
    let _ = inspect(&format!("--creds={USER}:{PASSWORD}")).ok();
    let refused = inspect(&format!("--creds={USER}:summer"));
    assert!(refused.code == Some(1) && refused.stderr.contains("unauthorized"), "{refused:?}");
    let refused = inspect("--no-creds");
    assert!(refused.code == Some(1) && refused.stderr.contains("unauthorized"), "{refused:?}");

    let basic = Request::get("/v2/").header("authorization", &format!("Basic {BASIC}"));
    assert_eq!(Connection::to(registry.address()).send(&basic).status, 200);
}

#[test]
fn nothing_is_left_of_it() {
    let (address, directory) = {
        let registry = Registry::start();
        (registry.address(), registry.directory.path().to_owned())
    };
    assert!(Connection::try_to(address).is_err());
    assert!(!directory.exists());
}

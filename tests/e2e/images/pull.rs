//! From a registry into the store.

use dormouse_tests::{
    BadRegistry, Fault, Registry,
    oci_image::{Compression, Image, ImageBuilder, LayerBuilder, Layout, this_architecture},
    skopeo,
};
use serde_json::json;

use super::{built, check_no_garbage, diff_ids, home, inspect, names, pull, store};

/// A layer whose one file is named after its content.
fn layer(content: &str) -> dormouse_tests::oci_image::Layer {
    LayerBuilder::new(Compression::Gzip).file(content, content).build()
}

#[test]
fn an_image_is_pulled_by_its_tag_and_by_its_digest() {
    let registry = Registry::start();
    registry.push(&built("busybox-httpd"), "team/web:latest");
    let by_tag = registry.reference("team/web:latest");
    let digest = skopeo::digest(&format!("docker://{by_tag}"));
    let by_digest = format!("{}@{digest}", registry.reference("team/web"));
    let daemon = home(&[registry.address()]).start();

    pull(&daemon, &by_tag);
    let status = inspect(&daemon, &by_tag);
    assert_eq!(status["digest"], digest);
    assert_eq!(status["details"]["config"]["entrypoint"][0], "/bin/sh");
    assert_eq!(status["details"]["config"]["exposed_ports"], json!(["8080/tcp"]));
    assert!(status["unpacked_bytes"].is_string() && status["problem"].is_null(), "{status}");

    pull(&daemon, &by_digest);
    assert_eq!(inspect(&daemon, &by_digest)["digest"], digest);
    assert_eq!(names(&daemon).len(), 2);
    check_no_garbage(&daemon);
}

#[test]
fn a_name_without_a_tag_means_the_latest() {
    let registry = Registry::start();
    registry.push(&built("busybox-httpd"), "web:latest");
    let daemon = home(&[registry.address()]).start();
    pull(&daemon, &registry.reference("web"));
    assert_eq!(names(&daemon), [registry.reference("web:latest")]);
}

#[test]
fn what_is_there_is_not_transferred_again() {
    let registry = Registry::start();
    registry.push(&built("python-http"), "model:latest");
    let reference = registry.reference("model:latest");
    let daemon = home(&[registry.address()]).start();
    pull(&daemon, &reference);
    let (before, layers) = (registry.blobs_read(), built("python-http").layers("latest").len());
    assert_eq!(before, 1 + layers, "a configuration and its layers; {:?}", registry.requests());
    pull(&daemon, &reference);
    assert_eq!(registry.blobs_read(), before, "{:?}", registry.requests());

    let daemon = daemon.restart();
    pull(&daemon, &reference);
    assert_eq!(registry.blobs_read(), before, "{:?}", registry.requests());
}

#[test]
fn images_share_their_layers() {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::create(directory.path());
    let image = |top: &str| ImageBuilder::new().layer(layer("base")).layer(layer(top)).build();
    let (one, two) = (image("one"), image("two"));
    layout.add(&one, "one");
    layout.add(&two, "two");
    let registry = BadRegistry::start(&layout, Fault::Nothing);
    let daemon = home(&[registry.address()]).start();
    pull(&daemon, &registry.reference("app:one"));
    pull(&daemon, &registry.reference("app:two"));

    let base = &one.layers()[0].blob.digest();
    let asked = registry.asked_of_blobs();
    assert_eq!(asked.iter().filter(|asked| asked.method == "GET" && asked.path.ends_with(base)).count(), 1);
    let of = |tag: &str| diff_ids(&inspect(&daemon, &registry.reference(tag)));
    assert_eq!(of("app:one")[0], of("app:two")[0]);
    assert_ne!(of("app:one")[1], of("app:two")[1]);
    check_no_garbage(&daemon);
}

#[test]
fn of_several_platforms_this_machines_is_pulled() {
    let directory = tempfile::tempdir().unwrap();
    let image = |architecture: &str| -> Image {
        ImageBuilder::of_file("a", architecture).platform("linux", architecture).build()
    };
    let images = [image("riscv64"), image(this_architecture()), image("s390x")];
    let layout = Layout::create(directory.path());
    let index = layout.add_index(&images, "all");
    let registry = Registry::start();
    registry.push(&layout, "app:all");
    let daemon = home(&[registry.address()]).start();
    for reference in [registry.reference("app:all"), format!("{}@{index}", registry.reference("app"))] {
        pull(&daemon, &reference);
        let status = inspect(&daemon, &reference);
        assert_eq!((&status["digest"], &status["source_digest"]), (&json!(images[1].digest()), &json!(index)));
    }
    let blobs = store(daemon.home()).blobs();
    assert!(!blobs.contains(&images[0].digest()) && !blobs.contains(&images[2].layers()[0].blob.digest()));
}

#[test]
fn each_form_of_a_layer_is_unpacked() {
    let directory = tempfile::tempdir().unwrap();
    let forms = [Compression::Plain, Compression::Gzip, Compression::Zstd];
    let layers = forms.map(|form| LayerBuilder::new(form).file(format!("{form:?}"), vec![7; 300_000]).build());
    let image = layers.into_iter().fold(ImageBuilder::new(), ImageBuilder::layer).build();
    let registry = BadRegistry::start(&Layout::of(directory.path(), &image, "a"), Fault::Nothing);
    let daemon = home(&[registry.address()]).start();
    pull(&daemon, &registry.reference("app:a"));
    let status = inspect(&daemon, &registry.reference("app:a"));
    let layers = status["details"]["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 3);
    for layer in layers {
        assert_eq!(
            (&layer["entries"], &layer["unpacked_bytes"]),
            (&json!(1), &layers[0]["unpacked_bytes"]),
            "{status}"
        );
    }
}

#[test]
fn a_tag_that_moved_is_pulled_anew() {
    let registry = Registry::start();
    let daemon = home(&[registry.address()]).start();
    let reference = registry.reference("app:a");
    for content in ["one", "two"] {
        let directory = tempfile::tempdir().unwrap();
        let image = ImageBuilder::of_file("a", content).build();
        registry.push(&Layout::of(directory.path(), &image, "a"), "app:a");
        pull(&daemon, &reference);
        assert_eq!(inspect(&daemon, &reference)["digest"], image.digest());
        check_no_garbage(&daemon);
    }
}

//! Images as files, for nodes without a network.

use std::{
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
};

use dormouse_tests::{
    Daemon, Fault, Told, cli,
    oci_image::{ImageBuilder, Layout, damage},
    skopeo,
};

use super::{built, check_no_garbage, home, inspect, names, pull, serving, store};

/// An image of set-up as a file that skopeo writes; `form` is how skopeo calls it, and `name` the image in it.
fn archive(form: &str, file: &Path, image: &str, name: &str) {
    let to = format!("{form}:{}:{name}", file.display());
    skopeo::copy_one(&built(image).reference("latest"), &to);
}

fn import(daemon: &Daemon, file: &Path) -> Told {
    daemon.cli(&["image", "import", file.to_str().unwrap()])
}

#[test]
fn archives_of_both_forms_are_imported_from_files() {
    let daemon = home(&[]).start();
    for (form, name) in [("oci-archive", "example.org/oci:1"), ("docker-archive", "example.org/docker:1")] {
        let file = daemon.home().path().join(form);
        archive(form, &file, "python-http", name);
        let _ = import(&daemon, &file).ok();
        let status = inspect(&daemon, name);
        assert_eq!(status["details"]["config"]["user"], "web", "{status}");
        assert_eq!(status["details"]["layers"].as_array().map(Vec::len), Some(5), "{status}");
        assert!(status["unpacked_bytes"].is_string() && status["problem"].is_null(), "{status}");
    }
    let digest = skopeo::digest(&built("python-http").reference("latest"));
    assert_eq!(inspect(&daemon, "example.org/oci:1")["digest"], digest);
    check_no_garbage(&daemon);
}

#[test]
fn an_archive_is_imported_from_a_pipe() {
    let daemon = home(&[]).start();
    let file = daemon.home().path().join("archive");
    archive("oci-archive", &file, "busybox-httpd", "example.org/web:1");
    let mut gzip = Command::new("gzip").arg("-c").arg(&file).stdout(Stdio::piped()).spawn().unwrap();
    let mut import = daemon.command(&["image", "import", "-"]);
    let output = import.stdin(gzip.stdout.take().unwrap()).output().unwrap();
    let _ = Told::of(&output, format!("{import:?}")).ok();
    assert!(gzip.wait().unwrap().success());
    assert_eq!(names(&daemon), ["example.org/web:1"]);
}

#[test]
fn an_import_can_give_another_name() {
    let daemon = home(&[]).start();
    let file = daemon.home().path().join("archive");
    archive("docker-archive", &file, "busybox-httpd", "example.org/web:1");
    let _ = daemon.cli(&["image", "import", file.to_str().unwrap(), "--name", "example.org/mine:2"]).ok();
    assert_eq!(names(&daemon), ["example.org/mine:2"]);
}

#[test]
fn what_is_exported_is_what_was_imported() {
    let source = home(&[]).start();
    let first = source.home().path().join("first");
    archive("oci-archive", &first, "python-http", "example.org/model:1");
    let _ = import(&source, &first).ok();
    let digest = inspect(&source, "example.org/model:1")["digest"].clone();

    let exported = source.home().path().join("exported");
    let _ = source.cli(&["image", "export", "example.org/model:1", "-o", exported.to_str().unwrap()]).ok();
    assert_eq!(digest, skopeo::digest(&format!("oci-archive:{}", exported.display())));
    // All of it, by a tool that verifies what it reads.
    let copy = source.home().path().join("copy");
    skopeo::copy(&format!("oci-archive:{}", exported.display()), &format!("dir:{}", copy.display()), &[]);

    let to_stdout = File::create(source.home().path().join("stdout")).unwrap();
    let status = source.command(&["image", "export", "example.org/model:1"]).stdout(to_stdout).status().unwrap();
    assert!(status.success());
    let to_stdout = fs::read(source.home().path().join("stdout")).unwrap();
    assert!(to_stdout == fs::read(&exported).unwrap());

    let target = home(&[]).start();
    let _ = import(&target, &exported).ok();
    assert_eq!(inspect(&target, "example.org/model:1")["digest"], digest);
    check_no_garbage(&target);
}

#[test]
fn a_bad_archive_is_refused_and_leaves_nothing() {
    let daemon = home(&[]).start();
    let path = |name: &str| daemon.home().path().join(name);
    let refused = |file: &Path, words: &[&str]| {
        let told = import(&daemon, file).failed(1);
        assert!(words.iter().all(|word| told.contains(word)), "{told}");
        assert_eq!(names(&daemon), Vec::<String>::new());
        check_no_garbage(&daemon);
    };
    archive("oci-archive", &path("cut"), "busybox-httpd", "example.org/web:1");
    damage::truncate(&path("cut"), 500_000);
    refused(&path("cut"), &["archive"]);
    refused(&daemon.home().write("text", "no archive at all"), &["archive", "docker save"]);
    refused(&daemon.home().write("empty", ""), &["archive"]);
    refused(&path("missing"), &["missing", "No such file"]);
    refused(daemon.home().path(), &["it is a directory", "tar -C"]);

    let image = ImageBuilder::of_file("a", "one").build();
    let damaged = |name: &str, damage: &dyn Fn(&Layout)| {
        let layout = Layout::of(path(&format!("{name}-layout")), &image, "example.org/a:1");
        damage(&layout);
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(layout.directory()).arg("-cf").arg(path(name)).arg(".");
        let _ = cli::run(&mut tar).ok();
        path(name)
    };
    let blob = image.layers()[0].blob.digest();
    refused(&damaged("flipped", &|layout| damage::flip_bit(&layout.blob(&blob))), &[&blob]);
    refused(&damaged("gone", &|layout| fs::remove_file(layout.blob(&blob)).unwrap()), &[&blob, "not in it"]);
}

#[test]
fn what_rotted_is_not_exported_until_it_is_pulled_again() {
    let image = ImageBuilder::of_file("a", "one").build();
    let (_layout, registry) = serving(&image, Fault::Nothing);
    let daemon = home(&[registry.address()]).start();
    let reference = registry.reference("app:a");
    pull(&daemon, &reference);
    damage::flip_bit(&store(daemon.home()).blob(&image.layers()[0].blob.digest()));
    let file = daemon.home().path().join("exported");
    let export = || daemon.cli(&["image", "export", &reference, "-o", file.to_str().unwrap()]);
    let told = export().failed(1);
    assert!(told.contains("damaged on this node: pull or import") && !file.exists(), "{told}");
    pull(&daemon, &reference);
    let _ = export().ok();
    check_no_garbage(&daemon);
}

#[test]
fn an_export_of_nothing_is_an_error() {
    let daemon = home(&[]).start();
    let file = daemon.home().path().join("exported");
    let told = daemon.cli(&["image", "export", "example.org/none:1", "-o", file.to_str().unwrap()]).failed(1);
    assert!(told.contains("example.org/none:1"), "{told}");
    assert!(!file.exists(), "a file that looks like an archive is left");
}

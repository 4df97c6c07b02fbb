//! Other tools see in these images what was put there.

use std::{
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::json;
use tempfile::tempdir;

use super::*;
use crate::{Told, cli, skopeo};

fn unpack(layout: &Layout, tag: &str, bundle: &Path) -> Told {
    let image = format!("{}:{tag}", layout.directory().display());
    cli::run(Command::new("umoci").args(["unpack", "--image", &image]).arg(bundle))
}

/// What umoci makes of an image's layers.
fn unpacked(layout: &Layout, tag: &str, place: &Path) -> PathBuf {
    let bundle = place.join("bundle");
    let _ = unpack(layout, tag, &bundle).ok();
    bundle.join("rootfs")
}

#[test]
fn skopeo_reads_the_configuration() {
    let directory = tempdir().unwrap();
    let image = ImageBuilder::of_file("a", "one")
        .entrypoint(&["/bin/server"])
        .cmd(&["--fast"])
        .env(&["A=1", "B=2"])
        .user("1000:1000")
        .working_directory("/srv")
        .stop_signal("SIGINT")
        .exposed_port("8080/tcp")
        .platform("linux", "riscv64")
        .build();
    let layout = Layout::of(directory.path(), &image, "latest");
    let config = skopeo::inspect(&layout.reference("latest"), &["--config"]);
    assert_eq!(config["architecture"], "riscv64");
    let expected = json!({
        "Entrypoint": ["/bin/server"], "Cmd": ["--fast"], "Env": ["A=1", "B=2"], "User": "1000:1000",
        "WorkingDir": "/srv", "StopSignal": "SIGINT", "ExposedPorts": { "8080/tcp": {} },
    });
    assert_eq!(config["config"], expected);
    assert_eq!(skopeo::digest(&layout.reference("latest")), image.digest());
}

#[test]
fn the_same_image_has_the_same_digest() {
    let build = || {
        let layers = [Compression::Plain, Compression::Gzip, Compression::Zstd];
        let layers = layers.map(|compression| LayerBuilder::new(compression).file("a", "one").build());
        layers.into_iter().fold(ImageBuilder::new(), ImageBuilder::layer).platform("linux", "amd64").build()
    };
    assert_eq!(build().digest(), build().digest());
    let other = ImageBuilder::of_file("a", "two").build();
    assert_ne!(ImageBuilder::of_file("a", "one").build().digest(), other.digest());
}

#[test]
fn umoci_unpacks_every_kind_of_entry() {
    let directory = tempdir().unwrap();
    let long = format!("{}/{}", "d".repeat(90), "f".repeat(90));
    let layer = LayerBuilder::new(Compression::Gzip)
        .entry(Entry::directory("srv").mode(0o1777).modified(1_000_000_000))
        .entry(Entry::file("srv/tool", "run").mode(0o4755).owner(1000, 1001).modified(1_500_000_000))
        .entry(Entry::file("srv/marked", "").xattr("user.mark", "yes"))
        .symlink("srv/link", "/nowhere")
        .hardlink("srv/same", "srv/tool")
        .entry(Entry::fifo("srv/pipe"))
        .entry(Entry::character_device("srv/null", 1, 3))
        .directory("d".repeat(90))
        .file(&long, "long")
        .symlink("srv/far", "t".repeat(200))
        .entry(Entry::zeros("srv/zeros", 300_000))
        .build();
    let layout = Layout::of(directory.path().join("layout"), &ImageBuilder::new().layer(layer).build(), "a");
    let root = unpacked(&layout, "a", directory.path());
    let of = |path: &str| fs::symlink_metadata(root.join(path)).unwrap();
    assert_eq!((of("srv").mode() & 0o7777, of("srv").mtime()), (0o1777, 1_000_000_000));
    let tool = of("srv/tool");
    assert_eq!((tool.mode() & 0o7777, tool.uid(), tool.gid(), tool.mtime()), (0o4755, 1000, 1001, 1_500_000_000));
    assert_eq!(of("srv/same").ino(), tool.ino());
    assert_eq!(fs::read_link(root.join("srv/link")).unwrap(), Path::new("/nowhere"));
    assert_eq!(fs::read_link(root.join("srv/far")).unwrap(), PathBuf::from("t".repeat(200)));
    assert!(of("srv/pipe").file_type().is_fifo());
    assert!(of("srv/null").file_type().is_char_device());
    assert_eq!(of("srv/null").rdev(), 1 << 8 | 3);
    assert_eq!(fs::read_to_string(root.join(&long)).unwrap(), "long");
    assert_eq!(fs::read(root.join("srv/zeros")).unwrap(), vec![0; 300_000]);
    let mut mark = [0; 8];
    let length = rustix::fs::getxattr(root.join("srv/marked"), "user.mark", &mut mark).unwrap();
    assert_eq!(&mark[..length], b"yes");
}

#[test]
fn umoci_agrees_about_whiteouts_and_opaque_directories() {
    let directory = tempdir().unwrap();
    let below = LayerBuilder::new(Compression::Gzip)
        .directory("a")
        .file("a/kept", "")
        .file("a/gone", "")
        .directory("b")
        .file("b/hidden", "")
        .file("top", "");
    let above = LayerBuilder::new(Compression::Gzip).whiteout("a/gone").whiteout("top").directory("b").opaque("b");
    let image = ImageBuilder::new().layer(below.build()).layer(above.file("b/new", "").build()).build();
    let layout = Layout::of(directory.path().join("layout"), &image, "a");
    let root = unpacked(&layout, "a", directory.path());
    let is_there = |path: &&str| root.join(path).exists();
    let paths = ["a/kept", "a/gone", "top", "b/hidden", "b/new", "a/.wh.gone", "b/.wh..wh..opq"];
    assert_eq!(paths.into_iter().filter(is_there).collect::<Vec<_>>(), ["a/kept", "b/new"]);
}

#[test]
fn another_decompressor_reads_each_form() {
    // Blocks that are as they are, and runs, and the end of one that is not full.
    let mixed: Vec<u8> = (0..400_000_u32).map(|at| if at < 300_000 { (at % 251) as u8 } else { 7 }).collect();
    let layer = |compression| LayerBuilder::new(compression).file("mixed", &mixed).entry(Entry::zeros("z", 1 << 20));
    let plain = layer(Compression::Plain).build();
    for (compression, program) in [(Compression::Gzip, "gzip"), (Compression::Zstd, "zstd")] {
        let layer = layer(compression).build();
        assert_eq!(layer.diff_id, plain.diff_id);
        let directory = tempdir().unwrap();
        let file = directory.path().join("layer");
        fs::write(&file, &layer.blob.bytes).unwrap();
        let output = Command::new(program).arg("-dc").stdin(fs::File::open(&file).unwrap()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(digest(&output.stdout), plain.diff_id);
    }
}

#[test]
fn an_index_has_an_image_for_each_platform() {
    let directory = tempdir().unwrap();
    let image = |architecture: &str| ImageBuilder::of_file("a", architecture).platform("linux", architecture).build();
    let images = [image("amd64"), image("arm64")];
    let layout = Layout::create(directory.path());
    let digest = layout.add_index(&images, "both");
    assert_eq!(skopeo::digest(&layout.reference("both")), digest);
    for architecture in ["amd64", "arm64"] {
        let overridden = format!("--override-arch={architecture}");
        let told = cli::run(Command::new("skopeo").args([&overridden, "inspect", &layout.reference("both")])).json();
        assert_eq!(told["Architecture"], architecture);
    }
}

/// What a tool tells that is to read all of an image whose first layer was changed on the disk.
fn read_by(tool: fn(&Layout, &Path) -> Told, image: &Image, change: fn(&Path)) -> Told {
    let directory = tempdir().unwrap();
    let layout = Layout::of(directory.path().join("layout"), image, "a");
    change(&layout.blob(&image.layers()[0].blob.digest()));
    tool(&layout, directory.path())
}

#[test]
fn other_tools_refuse_what_is_damaged() {
    let skopeo: fn(&Layout, &Path) -> Told = |layout, place| {
        let archive = format!("docker-archive:{}", place.join("archive").display());
        skopeo::run("copy", &[&layout.reference("a"), &archive])
    };
    let umoci: fn(&Layout, &Path) -> Told = |layout, place| unpack(layout, "a", &place.join("bundle"));
    let image = || ImageBuilder::of_file("a", "one").build();
    let none: fn(&Path) = |_| ();
    for tool in [skopeo, umoci] {
        let _ = read_by(tool, &image(), none).ok();
        assert_ne!(read_by(tool, &image(), damage::flip_bit).code, Some(0));
        assert_ne!(read_by(tool, &image(), |blob| damage::truncate(blob, 40)).code, Some(0));
        let nonsense = damage::media_type(image(), 0, "text/nonsense");
        assert_ne!(read_by(tool, &nonsense, none).code, Some(0));
    }
    // What skopeo does not look at.
    for image in [damage::wrong_size(image(), 0), damage::wrong_diff_id(image(), 0), damage::missing_diff_id(image())] {
        assert_ne!(read_by(umoci, &image, none).code, Some(0), "{image:?}");
    }
}

//! What is unpacked is what other tools make of the same image.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
};

use dormouse_tests::{
    Daemon, Fault, Registry, cli,
    oci_image::{Compression, Entry, ImageBuilder, LayerBuilder, Layout, digest},
};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::{built, diff_ids, home, inspect, layer, pull, serving};

/// All layers of an image, one over the other.
struct Overlay {
    directory: tempfile::TempDir,
}

impl Overlay {
    fn of(daemon: &Daemon, reference: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let ids = diff_ids(&inspect(daemon, reference));
        // The first of the list is the uppermost; one alone needs another, which is empty.
        let trees = ids.iter().rev().map(|id| layer(daemon.home(), id).join("sealed/tree"));
        let empty = daemon.home().path().join("empty");
        fs::create_dir_all(&empty).unwrap();
        let lower: Vec<String> = trees.chain([empty]).map(|path| path.display().to_string()).collect();
        let options = std::ffi::CString::new(format!("lowerdir={}", lower.join(":"))).unwrap();
        mount("overlay", directory.path(), "overlay", MountFlags::RDONLY, options.as_c_str()).unwrap();
        Self { directory }
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        unmount(self.directory.path(), UnmountFlags::DETACH).unwrap();
    }
}

/// What can be told of a file: its kind and mode, owner, time and content.
#[derive(Debug, Clone, PartialEq, Eq)]
struct File {
    mode: u32,
    owner: (u32, u32),
    modified: i64,
    content: String,
}

/// Everything below a directory whose ids begin at `first_id`; its own time is nobody's.
fn files(root: &Path, first_id: u32) -> BTreeMap<PathBuf, File> {
    let mut found = BTreeMap::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let status = fs::symlink_metadata(&path).unwrap();
            let content = match status.file_type() {
                kind if kind.is_symlink() => fs::read_link(&path).unwrap().display().to_string(),
                kind if kind.is_file() => digest(&fs::read(&path).unwrap()),
                _ => String::new(),
            };
            if status.is_dir() {
                directories.push(path.clone());
            }
            let owner = (status.uid() - first_id, status.gid() - first_id);
            let file = File { mode: status.mode(), owner, modified: status.mtime(), content };
            found.insert(path.strip_prefix(root).unwrap().to_owned(), file);
        }
    }
    found
}

/// A directory that a layer implies, and does not list, is made when it is unpacked, as with Docker; umoci leaves that
/// of the layer below as it is. So times of directories are compared where the image `lists` all of them.
fn check_against_umoci(daemon: &Daemon, reference: &str, layout: &Layout, tag: &str, lists: bool) {
    let place = tempfile::tempdir().unwrap();
    let image = format!("{}:{tag}", layout.directory().display());
    let bundle = place.path().join("bundle");
    let _ = cli::run(Command::new("umoci").args(["unpack", "--image", &image]).arg(&bundle)).ok();
    let expected = files(&bundle.join("rootfs"), 0);
    let overlay = Overlay::of(daemon, reference);
    let root = fs::metadata(overlay.directory.path()).unwrap();
    let found = files(overlay.directory.path(), root.uid());
    let paths = |files: &BTreeMap<PathBuf, File>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(paths(&found), paths(&expected));
    for (path, file) in &expected {
        let mut seen = found[path].clone();
        if !lists && seen.mode & 0o170_000 == 0o040_000 {
            seen.modified = file.modified;
        }
        assert_eq!(&seen, file, "{}", path.display());
    }
}

#[test]
fn a_real_image_has_the_files_that_umoci_unpacks() {
    let registry = Registry::start();
    registry.push(&built("python-http"), "model:latest");
    let daemon = home(&[registry.address()]).start();
    pull(&daemon, &registry.reference("model:latest"));
    check_against_umoci(&daemon, &registry.reference("model:latest"), &built("python-http"), "latest", false);
}

#[test]
fn whiteouts_and_opaque_directories_hide_what_is_below_alone() {
    let builder = || LayerBuilder::new(Compression::Gzip);
    let below = builder()
        .directory("kept")
        .file("kept/a", "a")
        .file("kept/gone", "gone")
        .directory("emptied")
        .file("emptied/old", "old")
        .directory("replaced")
        .file("replaced/old", "old")
        .file("file", "file")
        .entry(Entry::file("owned", "").owner(1000, 100).mode(0o640).modified(1_234_567_890))
        .hardlink("linked", "owned");
    let middle = builder()
        .directory("kept")
        .whiteout("kept/gone")
        // The mark comes after what it must not hide.
        .directory("emptied")
        .file("emptied/new", "new")
        .opaque("emptied")
        .whiteout("replaced")
        .file("replaced", "a file now")
        .whiteout("file")
        .directory("file")
        .file("file/in", "in");
    let above = builder().directory("kept").file("kept/gone", "again").whiteout("never-there");
    let layers = [below, middle, above].map(LayerBuilder::build);
    let image = layers.into_iter().fold(ImageBuilder::new(), ImageBuilder::layer).build();
    let (directory, registry) = serving(&image, Fault::Nothing);
    let daemon = home(&[registry.address()]).start();
    let reference = registry.reference("app:a");
    pull(&daemon, &reference);
    let overlay = Overlay::of(&daemon, &reference);
    let root = fs::metadata(overlay.directory.path()).unwrap().uid();
    let found: Vec<String> =
        files(overlay.directory.path(), root).keys().map(|path| path.display().to_string()).collect();
    let expected =
        ["emptied", "emptied/new", "file", "file/in", "kept", "kept/a", "kept/gone", "linked", "owned", "replaced"];
    assert_eq!(found, expected);
    drop(overlay);
    check_against_umoci(&daemon, &reference, &Layout::open(directory.path()), "a", true);
}

//! An image of one program of this machine and the libraries that it is linked to.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
};

use dormouse_driver::images::files_of_program;

use crate::{
    Daemon, cli,
    oci_image::{Compression, Entry, ImageBuilder, LayerBuilder, Layout},
};

/// Where the program is in it.
const PLACE: &str = "/server";

/// Archives of those that were made, since many tests bring the same.
static MADE: Mutex<BTreeMap<PathBuf, Arc<[u8]>>> = Mutex::new(BTreeMap::new());

/// Imports it by this name.
///
/// # Panics
/// Where that fails.
pub fn bring(daemon: &Daemon, program: &Path, name: &str) {
    let made = Arc::clone(MADE.lock().unwrap().entry(program.to_owned()).or_insert_with(|| make(program)));
    let archive = daemon.home().write("program.tar", made);
    let _ = daemon.cli(&["image", "import", archive.to_str().unwrap(), "--name", name]).ok();
}

fn make(program: &Path) -> Arc<[u8]> {
    let files = files_of_program(program, PLACE).into_iter();
    let layer = files.fold(LayerBuilder::new(Compression::Gzip), |layer, (path, content)| {
        layer.entry(Entry::file(&path[1..], content).mode(0o755))
    });
    let image = ImageBuilder::new().layer(layer.build()).entrypoint(&[PLACE]).build();
    let directory = tempfile::tempdir().unwrap();
    let (layout, archive) = (directory.path().join("layout"), directory.path().join("archive.tar"));
    let layout = Layout::of(&layout, &image, "a");
    let _ = cli::run(Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(layout.directory()).arg(".")).ok();
    fs::read(archive).unwrap().into()
}

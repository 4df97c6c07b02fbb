//! The floor: gzip and tar, which compare no digest and confine nothing.

use std::{
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rustix::fs::syncfs;

use crate::{Failure, image::Layer};

/// `gzip -dc LAYER | tar -x` and `sync -f`, of each layer into a directory of its own below `place`.
pub(super) fn unpack(layers: &[Layer], place: &Path) -> Result<Duration, Failure> {
    let begun = Instant::now();
    for (number, layer) in layers.iter().enumerate() {
        let tree = place.join(number.to_string());
        fs::create_dir(&tree)?;
        extract(&layer.path, &tree)?;
        syncfs(File::open(&tree)?)?;
    }
    let took = begun.elapsed();
    for number in 0..layers.len() {
        fs::remove_dir_all(place.join(number.to_string()))?;
    }
    Ok(took)
}

fn extract(layer: &Path, tree: &Path) -> Result<(), Failure> {
    let mut gzip = Command::new("gzip").arg("-dc").arg(layer).stdout(Stdio::piped()).spawn()?;
    let archive = gzip.stdout.take().ok_or("a child without output")?;
    let extracted = Command::new("tar").arg("-x").arg("-C").arg(tree).stdin(archive).status();
    let decompressed = gzip.wait()?;
    let extracted = extracted?;
    if !decompressed.success() || !extracted.success() {
        return Err(format!("{}: gzip ended with {decompressed}, tar with {extracted}", layer.display()).into());
    }
    Ok(())
}

//! Ways in which an image is not what it says.

use std::{fs::File, os::unix::fs::FileExt, path::Path};

use serde_json::{Value, json};

use super::{Image, digest};

/// Changes one bit in the middle of a file.
///
/// # Panics
/// Where it is empty or cannot be changed.
pub fn flip_bit(blob: &Path) {
    let file = File::options().read(true).write(true).open(blob).unwrap();
    let (mut byte, middle) = ([0], file.metadata().unwrap().len() / 2);
    file.read_exact_at(&mut byte, middle).unwrap();
    file.write_all_at(&[byte[0] ^ 1], middle).unwrap();
}

/// Leaves the first `keep` bytes of a file.
///
/// # Panics
/// Where it cannot be changed.
pub fn truncate(blob: &Path, keep: u64) {
    File::options().write(true).open(blob).unwrap().set_len(keep).unwrap();
}

/// One whose manifest says that a layer has a byte more than it has.
#[must_use]
pub fn wrong_size(image: Image, layer: usize) -> Image {
    let size = image.layers()[layer].blob.bytes.len() + 1;
    image.alter_manifest(|manifest| manifest["layers"][layer]["size"] = json!(size))
}

/// One whose configuration names another archive than the layer is.
#[must_use]
pub fn wrong_diff_id(image: Image, layer: usize) -> Image {
    image.alter_config(|config| config["rootfs"]["diff_ids"][layer] = json!(digest(b"another archive")))
}

/// One whose configuration knows of a layer less than the manifest.
#[must_use]
pub fn missing_diff_id(image: Image) -> Image {
    image.alter_config(|config| {
        let _ = config["rootfs"]["diff_ids"].as_array_mut().and_then(Vec::<Value>::pop);
    })
}

/// One whose manifest gives a layer this type.
#[must_use]
pub fn media_type(image: Image, layer: usize, media_type: &str) -> Image {
    image.alter_manifest(|manifest| manifest["layers"][layer]["mediaType"] = json!(media_type))
}

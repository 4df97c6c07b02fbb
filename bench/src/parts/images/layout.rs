//! The image that is unpacked: an OCI layout of one.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::Failure;

/// What gzip and tar can read.
const MEDIA_TYPE: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

#[derive(Debug)]
pub(super) struct Layer {
    pub(super) blob: String,
    /// Of its contents, decompressed.
    pub(super) diff_id: String,
    pub(super) path: PathBuf,
}

/// Its layers, lowest first.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) blobs: PathBuf,
    pub(super) layers: Vec<Layer>,
}

impl Layout {
    pub(super) fn open(layout: &Path) -> Result<Self, Failure> {
        if !layout.join("index.json").is_file() {
            return Err(format!("{} is missing: run `make bench-images`", layout.display()).into());
        }
        let blobs = layout.join("blobs/sha256");
        let manifest = document(&blob(&blobs, &document(&layout.join("index.json"))?["manifests"][0]["digest"])?)?;
        let config = document(&blob(&blobs, &manifest["config"]["digest"])?)?;
        let (layers, diff_ids) = (list(&manifest["layers"]), list(&config["rootfs"]["diff_ids"]));
        let layer = |(layer, diff_id): (&Value, &Value)| -> Result<Layer, Failure> {
            if layer["mediaType"] != MEDIA_TYPE {
                return Err(format!("a layer is {} and not {MEDIA_TYPE}", layer["mediaType"]).into());
            }
            let (path, digest) = (blob(&blobs, &layer["digest"])?, &layer["digest"]);
            Ok(Layer { blob: text(digest)?.to_owned(), diff_id: text(diff_id)?.to_owned(), path })
        };
        let layers = layers.iter().zip(diff_ids).map(layer).collect::<Result<_, _>>()?;
        Ok(Self { blobs, layers })
    }
}

fn document(path: &Path) -> Result<Value, Failure> {
    let file = File::open(path).map_err(|error| format!("opening {}: {error}", path.display()))?;
    Ok(serde_json::from_reader(file).map_err(|error| format!("reading {}: {error}", path.display()))?)
}

fn blob(blobs: &Path, digest: &Value) -> Result<PathBuf, Failure> {
    Ok(blobs.join(text(digest)?.trim_start_matches("sha256:")))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> Result<&str, Failure> {
    Ok(value.as_str().ok_or_else(|| format!("the image has {value} where a digest is to be"))?)
}

//! An image as set-up builds it: an OCI layout of one.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::{Failure, machine::said};

/// What gzip and tar can read.
const MEDIA_TYPE: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) blob: String,
    /// Of its contents, decompressed.
    pub(crate) diff_id: String,
    pub(crate) path: PathBuf,
}

#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) directory: PathBuf,
    pub(crate) blobs: PathBuf,
    /// Lowest first.
    pub(crate) layers: Vec<Layer>,
    process: Value,
}

impl Layout {
    pub(crate) fn open(layout: &Path) -> Result<Self, Failure> {
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
        Ok(Self { directory: layout.to_owned(), blobs, layers, process: config["config"].clone() })
    }

    /// What it runs where nobody says otherwise.
    pub(crate) fn arguments(&self) -> Vec<&str> {
        [self.texts("Entrypoint"), self.texts("Cmd")].concat()
    }

    /// Each `NAME=VALUE`.
    pub(crate) fn environment(&self) -> Vec<&str> {
        self.texts("Env")
    }

    fn texts(&self, key: &str) -> Vec<&str> {
        list(&self.process[key]).iter().filter_map(Value::as_str).collect()
    }

    /// One file, as it is imported.
    pub(crate) fn archive(&self, to: &Path) -> Result<(), Failure> {
        said(Command::new("tar").arg("-cf").arg(to).arg("-C").arg(&self.directory).arg(".")).map(drop)
    }

    /// Its root directory, of an image without whiteouts.
    pub(crate) fn unpack(&self, to: &Path) -> Result<(), Failure> {
        self.layers
            .iter()
            .try_for_each(|layer| said(Command::new("tar").arg("-xzf").arg(&layer.path).arg("-C").arg(to)).map(drop))
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

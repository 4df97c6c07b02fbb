//! Volumes of processes of images.

use std::{fs, path::Path};

use dormouse_sandbox::messages::{ImageVolume, VolumeSource};
use dormouse_spec::{Digest, FileContents, FilePath, VolumeFile};

use crate::layers::{digest, give_to_node};

#[must_use]
pub fn volume(at: &str, source: VolumeSource) -> ImageVolume {
    ImageVolume { at: at.parse().unwrap(), read_only: false, source }
}

#[must_use]
pub fn read_only(at: &str, source: VolumeSource) -> ImageVolume {
    ImageVolume { read_only: true, ..volume(at, source) }
}

#[must_use]
pub fn file(path: &str, mode: u32, contents: &str) -> VolumeFile {
    VolumeFile { path: FilePath::new(path).unwrap(), mode, contents: FileContents::new(contents.into()) }
}

/// Puts contents where the node would have.
#[must_use]
pub fn store_contents(data: &Path, files: &[VolumeFile]) -> Digest {
    store_bytes(data, &serde_json::to_vec(files).unwrap())
}

#[must_use]
pub fn store_bytes(data: &Path, bytes: &[u8]) -> Digest {
    let name = digest(bytes);
    let path = data.join("configs").join(name.directory_name());
    fs::write(&path, bytes).unwrap();
    give_to_node(&path);
    name
}

//! The variable of KServe's custom predictors that says where a model is.

use crate::{HostPathType, MountPath, Volume, VolumeMount};

use super::{
    super::{FileUri, ManifestError, field::Field},
    volumes::Placed,
};

pub(super) const VARIABLE: &str = "STORAGE_URI";
/// Where KServe puts a model, which it then writes into the variable too.
pub(super) const MOUNT_PATH: &str = "/mnt/models";
pub(super) const WRITE_VALUE: &str =
    "where a model is mounted from has to be written here: write `value: file:///path`";
const SCHEME: &str = "nothing is fetched for an image: write `file:///path` of a directory on the node, or put the model into \
                      the image";

/// The directory of the node that a variable has mounted.
#[derive(Debug)]
pub(super) struct Storage {
    variable: Field,
    path: MountPath,
}

/// `text` is what is under `value`, expanded.
pub(super) fn read(variable: Field, value: &Field, text: &str) -> Result<Storage, ManifestError> {
    // What is wrong with it is not repeated, as of any variable.
    let uri: FileUri = text.parse().map_err(|_| value.unsupported(SCHEME))?;
    let path = uri.path().to_str().ok_or_else(|| value.unsupported("its path is no UTF-8"))?;
    let path = MountPath::new(path).map_err(|error| value.fail(error))?;
    Ok(Storage { variable, path })
}

impl Storage {
    pub(super) fn into_mount(self) -> Result<Placed, ManifestError> {
        let mount_path = MountPath::new(MOUNT_PATH).map_err(|error| self.variable.fail(error))?;
        let volume = Volume::HostPath { path: self.path, r#type: HostPathType::Directory };
        let mount = VolumeMount { name: VARIABLE.to_owned(), mount_path, read_only: true, volume };
        Ok(Placed { at: self.variable, mount })
    }
}

//! Where a layer is unpacked to, and how it gets its name.
//!
//! One layer is `sha256-<hex>/` in the directory of layers: `layer.json`, which everybody may read, and
//! `sealed/`, which only root may enter, with `tree/` in it. What is in the tree has owners and modes of the
//! image's choice, set-user-id bits too, so no user of this machine may reach it by a path.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{DirBuilderExt, OpenOptionsExt, chown},
    },
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, FileType, RenameFlags, XattrFlags, fsetxattr, fstat, renameat_with, syncfs};

use super::Layer;
use crate::uids::ImageIds;

/// What is in a layer's directory.
pub(crate) const RECORD: &str = "layer.json";
const SEALED: &str = "sealed";
const TREE: &str = "tree";

/// What overlay file systems know an opaque directory by.
const OPAQUE: &str = "trusted.overlay.opaque";

#[derive(Debug, thiserror::Error)]
pub(super) enum PlaceError {
    #[error("{operation} `{}` failed", path.display())]
    Io {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the file system of `{}` keeps no `trusted` attributes, which layers need", path.display())]
    NoAttributes { path: PathBuf },
    #[error("what was named as a directory of the layer is none")]
    NotOfTheTree,
}

/// A layer that is not finished.
#[derive(Debug)]
pub(super) struct Place<'a> {
    layers: &'a Path,
    /// Opened before the first byte is written: what a disk fails to take after that is told to it.
    directory: File,
    path: PathBuf,
    device: u64,
}

impl<'a> Place<'a> {
    pub(super) fn make(layers: &'a Path, unfinished: &str, ids: ImageIds) -> Result<Self, PlaceError> {
        // Modes are what they are said to be.
        rustix::process::umask(rustix::fs::Mode::empty());
        let directory = File::open(layers).map_err(failed("opening", layers))?;
        let path = layers.join(unfinished);
        let sealed = path.join(SEALED);
        let tree = sealed.join(TREE);
        for (directory, mode) in [(&path, 0o755), (&sealed, 0o700), (&tree, 0o755)] {
            fs::DirBuilder::new().mode(mode).create(directory).map_err(failed("making", directory))?;
        }
        chown(&tree, Some(ids.base()), Some(ids.base())).map_err(failed("giving away", &tree))?;
        let found = rustix::fs::stat(&tree).map_err(|error| failed("looking at", &tree)(error.into()))?;
        Ok(Self { layers, directory, path, device: found.st_dev })
    }

    pub(super) fn tree(&self) -> PathBuf {
        self.path.join(SEALED).join(TREE)
    }

    /// Of a directory that was handed over: it can be one of the tree only, since its sender sees no other.
    pub(super) fn make_opaque(&self, directory: &OwnedFd) -> Result<(), PlaceError> {
        let tree = self.tree();
        let io = |operation| move |error: rustix::io::Errno| failed(operation, &self.tree())(error.into());
        let found = fstat(directory).map_err(io("looking at a directory in"))?;
        let is_of_the_tree =
            FileType::from_raw_mode(found.st_mode) == FileType::Directory && found.st_dev == self.device;
        if !is_of_the_tree {
            return Err(PlaceError::NotOfTheTree);
        }
        match fsetxattr(directory, OPAQUE, b"y", XattrFlags::empty()) {
            Err(rustix::io::Errno::OPNOTSUPP) => Err(PlaceError::NoAttributes { path: tree }),
            result => result.map_err(io("making opaque a directory in")),
        }
    }

    /// Gives it its name, once all of it is on the disk.
    pub(super) fn finish(self, layer: &Layer) -> Result<(), PlaceError> {
        let record = self.path.join(RECORD);
        let json = serde_json::to_vec_pretty(layer).map_err(|error| failed("encoding", &record)(error.into()))?;
        let mut options = File::options();
        let mut file =
            options.write(true).create_new(true).mode(0o644).open(&record).map_err(failed("making", &record))?;
        file.write_all(&json).map_err(failed("writing", &record))?;
        syncfs(self.directory.as_fd()).map_err(|error| failed("syncing", &self.path)(error.into()))?;
        let name = self.layers.join(layer.diff_id.directory_name());
        renameat_with(CWD, &self.path, CWD, &name, RenameFlags::NOREPLACE)
            .map_err(|error| failed("giving its name to", &name)(error.into()))?;
        self.directory.sync_all().map_err(failed("syncing", self.layers))
    }
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PlaceError {
    let path = path.to_owned();
    move |source| PlaceError::Io { operation, path, source }
}

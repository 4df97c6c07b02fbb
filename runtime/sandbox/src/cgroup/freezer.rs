use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use super::{CgroupError, interface};

/// A group's freezer as one open descriptor: freezing and thawing lie on the path of a waking
/// request, and the spawner must not look up names or allocate there. cgroups-rs opens the file by
/// path on each call, so it does not serve here.
#[derive(Debug)]
pub(super) struct Freezer {
    file: File,
    path: PathBuf,
    words: Words,
}

/// What a version writes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Words {
    pub(super) frozen: &'static str,
    pub(super) thawed: &'static str,
}

impl Freezer {
    pub(super) fn open(path: &Path, words: Words) -> Result<Self, CgroupError> {
        Ok(Self { file: interface::open(path)?, path: path.to_owned(), words })
    }

    pub(super) fn freeze(&self) -> Result<(), CgroupError> {
        self.write(self.words.frozen)
    }

    pub(super) fn thaw(&self) -> Result<(), CgroupError> {
        self.write(self.words.thawed)
    }

    fn write(&self, word: &str) -> Result<(), CgroupError> {
        self.file.write_all_at(word.as_bytes(), 0).map_err(CgroupError::file("writing", &self.path))
    }
}

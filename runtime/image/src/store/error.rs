use std::{
    io,
    path::{Path, PathBuf},
};

use dormouse_spec::{Bytes, Digest};
use tokio::task::JoinError;

use crate::{MODEL_FILE, MODEL_FILES_MAX, RelativePath};

/// What is taken to be missing where the disk is full and says no more: enough to see whether it still is.
const NEEDS_MIN: Bytes = Bytes::from_mebibytes(1);

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{operation} `{}` failed", path.display())]
    Io {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the store `{}` is in use by another process", path.display())]
    InUse { path: PathBuf },
    #[error("the model has no file called {MODEL_FILE}")]
    NoModelFile,
    #[error("the model has {count} files, more than {MODEL_FILES_MAX}")]
    TooManyFiles { count: usize },
    #[error("the model has two files called `{path}`, or one inside the other")]
    Twice { path: RelativePath },
    #[error("`{path}` is not a regular file")]
    NotRegular { path: RelativePath },
    #[error("the model has {bytes} bytes, more than {max}")]
    TooLarge { bytes: Bytes, max: Bytes },
    #[error("the disk of `{}` is too full: it takes {needs}, {free} can be used", path.display())]
    DiskFull { path: PathBuf, needs: Bytes, free: Bytes },
    #[error("`{path}` changed while it was copied: it had {expected} bytes, {found} were read")]
    Changed { path: RelativePath, expected: u64, found: u64 },
    #[error("`{path}` was written, but other bytes are read back: the disk or the memory is faulty")]
    Corrupted { path: RelativePath },
    #[error("{digest} is in use this moment and cannot be removed")]
    Pinned { digest: Digest },
    #[error("the copy was given up")]
    Cancelled,
    #[error("work on the store ended early")]
    Task(#[source] JoinError),
}

impl StoreError {
    pub(super) fn io(operation: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io { operation, path: path.to_owned(), source: source.into() }
    }

    /// What room was missing on the disk, where that is what went wrong, whoever found out.
    #[must_use]
    pub fn without_room(&self) -> Option<Bytes> {
        match self {
            Self::DiskFull { needs, .. } => Some(*needs),
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => Some(NEEDS_MIN),
            _ => None,
        }
    }

    /// Whether what was handed in is at fault, rather than this node.
    #[must_use]
    pub fn is_invalid_input(&self) -> bool {
        matches!(
            self,
            Self::NoModelFile
                | Self::TooManyFiles { .. }
                | Self::Twice { .. }
                | Self::NotRegular { .. }
                | Self::TooLarge { .. }
                | Self::Changed { .. }
        )
    }
}

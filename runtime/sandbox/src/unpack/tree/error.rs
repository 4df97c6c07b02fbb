//! Why an entry is not in the tree.

use std::io;

use rustix::io::Errno;

use super::space::{FREE_BYTES_MIN, FREE_INODES_MIN};
use crate::archive::Name;

#[derive(Debug, thiserror::Error)]
pub(in crate::unpack) enum TreeError {
    #[error("{operation} failed")]
    Io {
        operation: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("only {} MiB are free on the disk of the layers: {} MiB have to stay so", .free >> 20, FREE_BYTES_MIN >> 20)]
    NoSpace { free: u64 },
    #[error("only {free} inodes are free on the disk of the layers: {FREE_INODES_MIN} have to stay so")]
    NoInodes { free: u64 },
    #[error("more than {0} files and directories are made of the layer, those that its names imply counted in")]
    Made(u64),
    #[error("`{0}`, which it is in, is no directory")]
    NoDirectory(String),
    #[error("it is another name of `{0}`, which this layer has no file of")]
    NoTarget(Name),
    #[error("the same directory cannot be made time and again")]
    Contended,
}

pub(super) fn no_directory(error: Errno, name: &Name) -> TreeError {
    match error {
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP => TreeError::NoDirectory(name.to_string()),
        error => failed("opening the directory")(error),
    }
}

pub(super) fn failed(operation: &'static str) -> impl FnOnce(Errno) -> TreeError {
    move |source| TreeError::Io { operation, source: source.into() }
}

//! Images in and out of one file: OCI layouts as tar archives, and what `docker save` writes.
//!
//! An archive is read once, from its beginning to its end, so that it can come through a pipe. Blobs are
//! stored as they come; what they are for is known when the documents beside them have been read, wherever
//! they stand.

mod caller;
mod docker;
mod export;
mod import;
mod layout;
mod reader;

use std::io;

use dormouse_spec::{Bytes, Digest};

use super::{ImageStoreError, StoreError};
use crate::{oci::DocumentError, shown::shown};

pub use export::Exported;
pub use import::{Imported, ImportedImage};

/// Images of one archive.
const IMAGES_MAX: usize = 64;
/// Files of one archive: more than so many images have layers.
const FILES_MAX: usize = 16 << 10;
/// `index.json` or `manifest.json` of an archive.
const LISTING_BYTES_MAX: Bytes = Bytes::from_mebibytes(4);

/// Why an archive was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("reading the archive failed")]
    Read(#[source] io::Error),
    #[error("writing the archive failed")]
    Write(#[source] io::Error),
    #[error("the archive has more than {max} {what}")]
    TooMany { what: &'static str, max: usize },
    #[error("`{path}` of the archive cannot be used: {reason}")]
    File { path: String, reason: String },
    #[error(
        "it is no archive of images: expected a tar archive, plain or compressed by gzip, with the index.json of an OCI \
         layout or the manifest.json of `docker save`"
    )]
    NoImages,
    #[error("an archive that is compressed by zstd is not read: pass it as `zstd -dc FILE | dormouse image import -`")]
    Zstd,
    #[error("the archive refers to the blob {0}, which is not in it")]
    Missing(Digest),
    #[error("the archive refers to the file `{0}`, which is not in it")]
    MissingFile(String),
    #[error("the image of the archive cannot be used")]
    Document(#[from] DocumentError),
    #[error("the archive gives the image {0} no name: pass one with --name")]
    NoName(Digest),
    #[error("the archive calls an image `{name}`, which is no reference: pass a name with --name")]
    BadName { name: String },
    #[error("the archive calls the image {image} `{name}`, which is a name of other content: pass a name with --name")]
    NameOfOther { name: String, image: Digest },
    #[error("the image of the archive is {image}, and `{name}` is a name of other content: pass one without a digest")]
    GivenNameOfOther { name: String, image: Digest },
    #[error(
        "the archive has {count} images, and one name was given: leave --name out, or import an archive of one image"
    )]
    SeveralImages { count: usize },
    #[error(transparent)]
    Store(#[from] ImageStoreError),
}

impl From<StoreError> for ArchiveError {
    fn from(error: StoreError) -> Self {
        Self::Store(error.into())
    }
}

impl ArchiveError {
    fn file(path: &str, reason: &dyn std::fmt::Display) -> Self {
        Self::File { path: shown(path), reason: shown(&reason.to_string()) }
    }
}

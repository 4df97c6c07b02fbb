use dormouse_spec::{Bytes, Digest, ImageReference};

use super::StoreError;

/// Why the image store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ImageStoreError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "there is no image `{0}` in the store; `dormouse image ls` shows those that are, `dormouse image pull` gets others"
    )]
    NotFound(ImageReference),
    #[error("the blob {expected} came with other bytes, of the digest {found}: it was damaged or exchanged on its way")]
    Digest { expected: Digest, found: Digest },
    #[error("the content has {found} bytes, and not {expected}: it is cut off or was exchanged")]
    Size { expected: u64, found: u64 },
    #[error("the blob {digest} is longer than {max}")]
    Long { digest: Digest, max: Bytes },
    #[error("the image store's index cannot be read, so nothing is changed in it: {0}; repair or remove the file")]
    Damaged(String),
    #[error("the image store has {max} names already: remove some with `dormouse image rm`")]
    Full { max: usize },
    #[error("writing the image store's index failed")]
    Index(#[source] serde_json::Error),
    #[error("the image was given up while it was stored")]
    GivenUp,
}

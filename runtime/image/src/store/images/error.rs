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
    #[error(
        "the blob {digest} has other bytes than were stored, so it is damaged on this node: pull or import its image again"
    )]
    Rotted { digest: Digest },
    #[error("the content has {found} bytes, and not {expected}: it is cut off or was exchanged")]
    Size { expected: u64, found: u64 },
    #[error("the blob {digest} is longer than {max}")]
    Long { digest: Digest, max: Bytes },
    #[error(
        "the image store's index cannot be read, so nothing is changed in it: {0}; repair the file and restart the daemon, or remove it, which forgets all images"
    )]
    Damaged(String),
    #[error("the image store has {max} names already: remove some with `dormouse image rm`")]
    Full { max: usize },
    #[error("the image store's index would be larger than {max}: remove some images with `dormouse image rm`")]
    IndexFull { max: Bytes },
    #[error("the store lacks the blob {digest} of `{image}`: pull or import it again")]
    Missing { image: String, digest: Digest },
    #[error("writing the image store's index failed")]
    Index(#[source] serde_json::Error),
    #[error("the image was given up while it was stored")]
    GivenUp,
}

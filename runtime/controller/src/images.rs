//! Images of the node: pulled, imported, exported, removed. Blobs are the store's, unpacked layers the
//! spawner's; a name is given when both are whole.

mod content;
mod failed;
mod garbage;
mod hold;
mod import;
mod layers;
mod locks;
mod progress;
mod pull;
mod room;
mod transfer;
mod view;
mod watermark;

use std::{collections::BTreeSet, os::fd::OwnedFd, path::PathBuf, sync::Arc};

use dormouse_image::{
    ArchiveError, Exported, ImageStore, ImageStoreError, NamedImage,
    oci::{self, DocumentError},
    registry::{ClientError, CredentialsError, RegistryClient, RegistryError, RegistrySettings},
};
use dormouse_sandbox::messages::Compression;
use dormouse_spec::{Bytes, Digest, ImageReference};
use tokio::sync::{Mutex, RwLock, Semaphore, watch};

pub use garbage::{Collected, Removed};
pub use progress::ImageProgress;
pub use pull::PullRequest;
pub use view::{ImageContent, ImageView, LayerView, UnpackedView};
pub use watermark::{GcThresholds, NoThresholds};

pub(crate) use layers::{LayerAnswers, Layers};
pub(crate) use watermark::GcCounters;

use crate::store::Store;
use failed::FailedPulls;
use locks::Locks;
use transfer::Unnamed;
use watermark::Watermark;

/// Pulls, imports and exports at a time; further ones wait.
const TRANSFERS_MAX: usize = 4;

/// What the composition root decided of images.
#[derive(Debug, Clone)]
pub struct ImageSettings {
    pub registries: RegistrySettings,
    /// A `config.json` of Docker's with the node's own credentials, where there is such a file.
    pub credentials: PathBuf,
    /// What one layer may hold, unpacked.
    pub layer_bytes_max: Bytes,
    /// When images that nobody uses make room; none where they never do.
    pub gc: Option<GcThresholds>,
}

/// Why an image is not there, or not gone.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// Of an image that is to be run.
    #[error("there is no image `{image}` in the store, and pulling it failed: {reason}")]
    NotPulled { image: String, reason: String },
    #[error("the node's own credentials cannot be used")]
    Credentials(#[source] CredentialsError),
    #[error(transparent)]
    Store(#[from] ImageStoreError),
    #[error(transparent)]
    Archive(Box<ArchiveError>),
    #[error("`{image}` cannot be used")]
    Document {
        image: String,
        #[source]
        source: Box<DocumentError>,
    },
    #[error("`{image}` cannot be stored")]
    Stored {
        image: String,
        #[source]
        source: Box<ImageStoreError>,
    },
    #[error("`{image}` cannot be used: its layer {layer} cannot be unpacked: {reason}")]
    Unpack { image: String, layer: Digest, reason: String },
    #[error("the unpacked layer {diff_id} cannot be removed: {reason}")]
    RemoveLayer { diff_id: Digest, reason: String },
    #[error("the directory of unpacked layers `{}` cannot be read", path.display())]
    Layers {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("what endpoints run cannot be read")]
    Endpoints(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("work on images ended early")]
    Task(#[source] tokio::task::JoinError),
    #[error("it was given up: whoever asked for it went away")]
    GivenUp,
    #[error("the spawner is gone")]
    SpawnerGone,
    #[error("the daemon is ending")]
    Draining,
}

impl ImageError {
    /// What was to be stored on a disk that had no room for it, where that is what went wrong.
    fn without_room(&self) -> Option<Bytes> {
        let stored = match self {
            Self::Store(error) => error,
            Self::Stored { source, .. } => source,
            Self::Registry(error) => error.of_sink()?,
            Self::Archive(error) => match &**error {
                ArchiveError::Store(error) => error,
                _ => return None,
            },
            _ => return None,
        };
        match stored {
            ImageStoreError::Store(error) => error.without_room(),
            _ => None,
        }
    }
}

impl From<ArchiveError> for ImageError {
    fn from(error: ArchiveError) -> Self {
        Self::Archive(Box::new(error))
    }
}

/// The images of a node. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Images {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: ImageStore,
    layers: Layers,
    /// What endpoints run, whatever names lead to.
    endpoints: Store,
    registries: RegistryClient,
    settings: ImageSettings,
    transfers: Semaphore,
    /// One transfer of a blob at a time; others of it wait and find it there.
    blobs: Locks,
    /// Read while something is stored that no name leads to yet; nothing is collected meanwhile.
    unnamed: Arc<RwLock<()>>,
    /// Held by the one collection of garbage.
    collecting: Mutex<()>,
    failed: FailedPulls,
    watermark: Watermark,
    draining: watch::Receiver<bool>,
}

impl Images {
    /// Blocks for as long as reading the certificates of this system's authorities takes.
    pub(crate) fn new(
        settings: ImageSettings,
        store: ImageStore,
        layers: Layers,
        endpoints: Store,
        counters: GcCounters,
        draining: watch::Receiver<bool>,
    ) -> Result<Self, ClientError> {
        let registries = RegistryClient::new(settings.registries.clone())?;
        let watermark = Watermark::new(settings.gc, counters);
        let inner = Inner {
            store,
            layers,
            endpoints,
            registries,
            settings,
            transfers: Semaphore::new(TRANSFERS_MAX),
            blobs: Locks::default(),
            unnamed: Arc::default(),
            collecting: Mutex::default(),
            failed: FailedPulls::default(),
            watermark,
            draining,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// All images, by name.
    ///
    /// # Errors
    /// Where the store's index is damaged.
    pub async fn list(&self) -> Result<Vec<ImageView>, ImageError> {
        let mut views = Vec::new();
        for named in self.inner.store.names()? {
            views.push(self.inner.view(named).await);
        }
        Ok(views)
    }

    /// One image, with its documents where they can be read.
    ///
    /// # Errors
    /// Where there is none of this name.
    pub async fn inspect(&self, reference: &ImageReference) -> Result<(ImageView, Option<ImageContent>), ImageError> {
        Ok(self.inner.look(self.inner.store.named(reference)?).await)
    }

    /// Writes images as one archive that other tools read too.
    ///
    /// # Errors
    /// See [`ArchiveError`].
    pub async fn export(&self, references: BTreeSet<ImageReference>, archive: OwnedFd) -> Result<Exported, ImageError> {
        self.transfer(async move |images: Arc<Inner>, _unnamed, caller| {
            Ok(images.store.export(&references, archive, caller.went_away()).await?)
        })
        .await
    }
}

impl Inner {
    async fn view(&self, named: NamedImage) -> ImageView {
        self.look(named).await.0
    }

    async fn look(&self, named: NamedImage) -> (ImageView, Option<ImageContent>) {
        let manifest = named.manifest.digest;
        let last_uses = self.store.last_uses([manifest].into()).await;
        let last_used_at = last_uses.ok().and_then(|uses| uses.get(&manifest).map(|last_use| last_use.at));
        let (view, content) = match content::view(&self.store, &self.layers, &named).await {
            Ok(content) => (ImageView::of(named, &content), Some(content)),
            Err(error) => (ImageView::damaged(named, crate::error_chain::one_line(&error)), None),
        };
        (ImageView { last_used_at, ..view }, content)
    }
}

fn compression(of_layer: oci::Compression) -> Compression {
    match of_layer {
        oci::Compression::None => Compression::None,
        oci::Compression::Gzip => Compression::Gzip,
        oci::Compression::Zstd => Compression::Zstd,
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use dormouse_image::{
        StoreError,
        registry::{Content, Failure},
    };

    use super::*;

    fn sink(stored: ImageStoreError) -> ImageError {
        let content = Content::Blob(Digest::from_sha256([1; 32]));
        let failure = Box::new(Failure::Sink { source: Box::new(stored) });
        let (image, host) = ("app:1".to_owned(), "example.org".to_owned());
        ImageError::Registry(RegistryError { content, image, host, attempts: 1, failure })
    }

    #[test]
    fn a_disk_that_fills_while_something_comes_has_no_room_either() {
        let full = StoreError::DiskFull { path: "/data".into(), needs: Bytes::new(7), free: Bytes::new(1) };
        assert_eq!(sink(full.into()).without_room(), Some(Bytes::new(7)));
        assert_eq!(sink(ImageStoreError::GivenUp).without_room(), None);
        let failed =
            |kind: ErrorKind| StoreError::Io { operation: "writing", path: "/data".into(), source: kind.into() };
        assert!(sink(failed(ErrorKind::StorageFull).into()).without_room().is_some());
        assert!(ImageError::from(ImageStoreError::from(failed(ErrorKind::StorageFull))).without_room().is_some());
        assert_eq!(sink(failed(ErrorKind::PermissionDenied).into()).without_room(), None);
    }
}

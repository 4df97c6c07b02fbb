//! Images of the node: pulled, imported, exported, removed. Blobs are the store's, unpacked layers the
//! spawner's; a name is given when both are whole.

mod content;
mod garbage;
mod import;
mod layers;
mod locks;
mod progress;
mod pull;
mod view;

use std::{os::fd::OwnedFd, path::PathBuf, sync::Arc};

use dormouse_image::{
    ArchiveError, Exported, ImageStore, ImageStoreError, NamedImage,
    oci::{self, DocumentError},
    registry::{ClientError, CredentialsError, RegistryClient, RegistryError, RegistrySettings},
};
use dormouse_sandbox::messages::Compression;
use dormouse_spec::{Bytes, Digest, ImageReference};
use tokio::sync::{RwLock, Semaphore};

pub use garbage::Pruned;
pub use progress::ImageProgress;
pub use pull::PullRequest;
pub use view::{ImageContent, ImageView, LayerView, UnpackedView};

pub(crate) use layers::{LayerAnswers, Layers};

use locks::Locks;

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
}

/// Why an image is not there, or not gone.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error(transparent)]
    Registry(#[from] RegistryError),
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
    #[error("fetching a layer ended early")]
    Task(#[source] tokio::task::JoinError),
    #[error("the spawner is gone")]
    SpawnerGone,
    #[error("the daemon is ending")]
    Draining,
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
    registries: RegistryClient,
    settings: ImageSettings,
    transfers: Semaphore,
    /// One transfer of a blob at a time; others of it wait and find it there.
    blobs: Locks,
    /// Read while layers are unpacked that no name leads to yet; nothing is collected meanwhile.
    unnamed: RwLock<()>,
}

impl Images {
    /// Blocks for as long as reading the certificates of this system's authorities takes.
    pub(crate) fn new(settings: ImageSettings, store: ImageStore, layers: Layers) -> Result<Self, ClientError> {
        let registries = RegistryClient::new(settings.registries.clone())?;
        let transfers = Semaphore::new(TRANSFERS_MAX);
        let inner =
            Inner { store, layers, registries, settings, transfers, blobs: Locks::default(), unnamed: RwLock::new(()) };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// All images, by name.
    ///
    /// # Errors
    /// Where the store's index is damaged.
    pub async fn list(&self) -> Result<Vec<ImageView>, ImageError> {
        if let Some(damage) = self.inner.store.damage() {
            return Err(ImageStoreError::Damaged(damage).into());
        }
        let mut views = Vec::new();
        for named in self.inner.store.names() {
            views.push(self.inner.view(named).await);
        }
        Ok(views)
    }

    /// # Errors
    /// [`ImageStoreError::NotFound`].
    pub async fn inspect(&self, reference: &ImageReference) -> Result<ImageView, ImageError> {
        let not_found = || ImageStoreError::NotFound(reference.clone());
        let named = self.inner.store.named(reference).ok_or_else(not_found)?;
        Ok(self.inner.view(named).await)
    }

    /// Writes images as one archive that other tools read too.
    ///
    /// # Errors
    /// See [`ArchiveError`].
    pub async fn export(&self, references: Vec<ImageReference>, archive: OwnedFd) -> Result<Exported, ImageError> {
        let _turn = self.inner.turn().await?;
        Ok(self.inner.store.export(references, archive).await?)
    }
}

impl Inner {
    async fn turn(&self) -> Result<tokio::sync::SemaphorePermit<'_>, ImageError> {
        self.transfers.acquire().await.map_err(|_| ImageError::Draining)
    }

    async fn view(&self, named: NamedImage) -> ImageView {
        let content = content::view(&self.store, &self.layers, &named).await;
        ImageView::of(named, content.map_err(|error| crate::error_chain::one_line(&error)))
    }
}

fn compression(of_layer: oci::Compression) -> Compression {
    match of_layer {
        oci::Compression::None => Compression::None,
        oci::Compression::Gzip => Compression::Gzip,
        oci::Compression::Zstd => Compression::Zstd,
    }
}

use std::sync::Arc;

use bytes::Bytes;
use dormouse_spec::{Digest, ImageReference, Registry};
use rustls::RootCertStore;
use tracing::warn;

use super::{
    BlobSink, CONFIG_BYTES_MAX, Content, Descriptor, Failure, FetchedManifest, ImageManifest, Keyring, RegistryError,
    RegistrySettings,
    blob::{InMemory, fetch_blob},
    manifest::fetch_manifest,
    origin::Origin,
    transport::Transport,
    tries::Tries,
};

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
    #[error("the HTTP client cannot be set up")]
    Http(#[from] reqwest::Error),
}

/// Reads images from registries. Cheap to clone; all clones share their connections.
#[derive(Debug, Clone)]
pub struct RegistryClient {
    transport: Arc<Transport>,
}

impl RegistryClient {
    /// A client that trusts the authorities of this system. Reads their certificates, and blocks
    /// for as long as that takes.
    ///
    /// # Errors
    /// Where TLS or the HTTP client cannot be set up.
    pub fn new(settings: RegistrySettings) -> Result<Self, ClientError> {
        Self::trusting(settings, system_roots())
    }

    pub(super) fn trusting(settings: RegistrySettings, roots: RootCertStore) -> Result<Self, ClientError> {
        Ok(Self { transport: Arc::new(Transport::new(settings, roots)?) })
    }

    /// The image that `reference` names, to be read with the credentials of `keyring` and no
    /// others: tokens that they are good for are kept with it and never serve another caller.
    /// Nothing is sent yet.
    #[must_use]
    pub fn image(&self, reference: ImageReference, keyring: &Keyring) -> RemoteImage {
        let settings = self.transport.settings();
        let origin = |registry: &Registry| {
            let insecure = settings.insecure.contains(registry);
            Origin::new(registry.clone(), reference.repository(), insecure, keyring.get(registry).cloned())
        };
        let mirrors = settings.mirrors.get(reference.registry()).into_iter().flatten().map(origin).collect();
        let registry = Arc::new(origin(reference.registry()));
        RemoteImage { transport: Arc::clone(&self.transport), image: Arc::new(Image { reference, mirrors, registry }) }
    }
}

/// A machine without authorities still pulls from registries that need none, and is told about
/// the rest when it matters.
fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (_, ignored) = roots.add_parsable_certificates(found.certs);
    if roots.is_empty() || ignored > 0 || !found.errors.is_empty() {
        warn!(certificates = roots.len(), ignored, errors = ?found.errors, "not all authorities of this system can be used");
    }
    roots
}

/// An image in its registry. Cheap to clone: several of its blobs can be read at once.
#[derive(Debug, Clone)]
pub struct RemoteImage {
    transport: Arc<Transport>,
    image: Arc<Image>,
}

#[derive(Debug)]
struct Image {
    reference: ImageReference,
    mirrors: Vec<Origin>,
    registry: Arc<Origin>,
}

impl RemoteImage {
    /// Whether others are asked before the registry.
    #[must_use]
    pub fn has_mirrors(&self) -> bool {
        !self.image.mirrors.is_empty()
    }

    /// The same image, of the registry itself.
    #[must_use]
    pub fn without_mirrors(&self) -> Self {
        let Image { reference, registry, .. } = &*self.image;
        let image = Image { reference: reference.clone(), mirrors: Vec::new(), registry: Arc::clone(registry) };
        Self { transport: Arc::clone(&self.transport), image: Arc::new(image) }
    }

    /// The manifest or index that the reference names, by its digest where it has one.
    ///
    /// # Errors
    /// Where no mirror gives it and the registry does not either.
    pub async fn manifest(&self) -> Result<FetchedManifest, RegistryError> {
        let reference = &self.image.reference;
        self.manifest_by(&reference.version(), reference.digest()).await
    }

    /// The manifest of an entry of the image's index.
    ///
    /// # Errors
    /// As of [`Self::manifest`].
    pub async fn manifest_of(&self, entry: &Descriptor) -> Result<FetchedManifest, RegistryError> {
        self.manifest_by(&entry.digest.to_string(), Some(entry.digest)).await
    }

    /// The configuration of the image, verified.
    ///
    /// # Errors
    /// Where it is over [`CONFIG_BYTES_MAX`], and as of [`Self::blob`].
    pub async fn config(&self, manifest: &ImageManifest) -> Result<Bytes, RegistryError> {
        let config = &manifest.config;
        let tries = self.tries(Content::Blob(config.digest));
        if config.size > CONFIG_BYTES_MAX as u64 {
            return Err(tries.give_up(Failure::TooLarge { max: CONFIG_BYTES_MAX as u64 }));
        }
        let mut sink = InMemory::default();
        self.blob(config, &mut sink).await?;
        sink.verified(config.digest).map_err(|failure| tries.give_up(failure))
    }

    /// Reads what `sink` does not have of a blob, and goes on where it broke off. Its digest is
    /// for the sink to check.
    ///
    /// # Errors
    /// Where no mirror gives it and the registry does not either, or the sink fails.
    pub async fn blob<S: BlobSink>(&self, blob: &Descriptor, sink: &mut S) -> Result<(), RegistryError> {
        let mut tries = self.tries(Content::Blob(blob.digest));
        while let Err(failure) = fetch_blob(&self.transport, tries.origin(), blob, sink).await {
            tries.reached(sink.received());
            tries.after(failure).await?;
        }
        Ok(())
    }

    async fn manifest_by(&self, version: &str, expected: Option<Digest>) -> Result<FetchedManifest, RegistryError> {
        let mut tries = self.tries(Content::Manifest);
        loop {
            match fetch_manifest(&self.transport, tries.origin(), version, expected).await {
                Ok(manifest) => return Ok(manifest),
                Err(failure) => tries.after(failure).await?,
            }
        }
    }

    fn tries(&self, content: Content) -> Tries<'_> {
        let Image { reference, mirrors, registry } = &*self.image;
        Tries::new(reference, content, self.transport.settings(), mirrors, registry)
    }
}

//! From a reference to an image that can run: fetched, verified, unpacked, named.

use std::{
    collections::HashSet,
    sync::{Arc, OnceLock},
};

use bytes::Bytes as Chunk;
use dormouse_image::{
    BlobWriter, ImageStoreError, StoreError, StoredBlob,
    oci::{self, CONFIG_BYTES_MAX, Descriptor, Document, DocumentError, ImageManifest, Layer, MediaType, Platform},
    registry::{self, BlobSink, Keyring, RemoteImage},
};
use dormouse_spec::{Bytes, Digest, ImageReference};
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
};

use super::{
    ImageError, ImageProgress, ImageView, Images, Inner, Unnamed,
    garbage::Reachable,
    progress::Progress,
    room::{self, Room},
    transfer::Caller,
};

/// Layers of one image that are fetched at a time.
const FETCHES_MAX: usize = 3;

/// What a pull is asked to do.
#[derive(Debug, Clone)]
pub struct PullRequest {
    pub reference: ImageReference,
    /// The caller's; the node's own are for registries that it has none for.
    pub credentials: Keyring,
}

/// One pull that began.
#[derive(Debug)]
struct Pull {
    images: Arc<Inner>,
    reference: ImageReference,
    remote: RemoteImage,
    progress: Progress,
    room: Room,
    fetches: Semaphore,
    unnamed: Arc<Unnamed>,
    /// Once it is known.
    wanted: Arc<OnceLock<Reachable>>,
}

/// What a reference led to.
struct Found {
    manifest: Descriptor,
    /// What the registry calls the reference.
    source: Digest,
    layers: Vec<Layer>,
    /// The documents, in the store.
    held: Vec<StoredBlob>,
}

/// All of an image, in the store and unpacked.
struct Fetched {
    manifest: Descriptor,
    source: Digest,
    held: Vec<StoredBlob>,
}

impl Images {
    /// Fetches what is not in the store, has layers unpacked as they come, and names the image. Where this
    /// future is dropped before, what was fetched by then waits for another attempt, as after any failure that may pass.
    ///
    /// # Errors
    /// See [`ImageError`]; the name then means what it meant before.
    pub async fn pull(
        &self,
        request: PullRequest,
        progress: watch::Sender<ImageProgress>,
    ) -> Result<ImageView, ImageError> {
        let progress = Progress::new(progress);
        if !self.makes_room() {
            return self.try_pull(request, progress, Room::ForEach).await;
        }
        let pulled = self.try_pull(request.clone(), progress.clone(), Room::ForAll).await;
        let Some(needs) = pulled.as_ref().err().and_then(ImageError::without_room) else { return pulled };
        // Where nothing was fetched yet, it may be that less would do than was guessed.
        if !self.make_room_for(needs).await && progress.has_stored() {
            return pulled;
        }
        progress.begin_anew();
        self.try_pull(request, progress, Room::ForEach).await
    }

    async fn try_pull(&self, request: PullRequest, progress: Progress, room: Room) -> Result<ImageView, ImageError> {
        self.transfer(async move |images: Arc<Inner>, unnamed: Arc<Unnamed>, mut caller| {
            let (reference, wanted) = (request.reference.clone(), Arc::new(OnceLock::new()));
            // Kept until it is noted what of it is no garbage.
            let _unnamed = Arc::clone(&unnamed);
            let pulled = images.pull_once(request, (progress, room), (unnamed, &mut caller), &wanted).await;
            match &pulled {
                Ok(_) => images.failed.forget(&reference),
                Err(error) => images.note_failed(reference, error, wanted.get()),
            }
            pulled
        })
        .await
    }
}

impl Inner {
    /// `wanted` is set once it is known.
    async fn pull_once(
        self: &Arc<Self>,
        PullRequest { reference, credentials }: PullRequest,
        (progress, room): (Progress, Room),
        (unnamed, caller): (Arc<Unnamed>, &mut Caller),
        wanted: &Arc<OnceLock<Reachable>>,
    ) -> Result<ImageView, ImageError> {
        // A store that cannot name it need not fetch it.
        self.store.names()?;
        let keyring = self.with_own_credentials(&reference, credentials).await?;
        let pull = Arc::new(Pull {
            images: Arc::clone(self),
            remote: self.registries.image(reference.clone(), &keyring),
            reference,
            progress,
            room,
            fetches: Semaphore::new(FETCHES_MAX),
            unnamed,
            wanted: Arc::clone(wanted),
        });
        let Fetched { manifest, source, held } = caller.while_there(Arc::clone(&pull).fetch_all()).await?;
        let named = self.store.name(pull.reference.clone(), manifest, Some(source), Arc::new(held)).await?;
        Ok(self.view(named).await)
    }

    /// For the registry and its mirrors.
    async fn with_own_credentials(
        &self,
        reference: &ImageReference,
        mut keyring: Keyring,
    ) -> Result<Keyring, ImageError> {
        let file = self.settings.credentials.clone();
        let mirrors = self.settings.registries.mirrors.get(reference.registry());
        let hosts = mirrors.into_iter().flatten().chain([reference.registry()]);
        let hosts: Vec<_> = hosts.filter(|host| keyring.get(host).is_none()).cloned().collect();
        let read = move || {
            for host in hosts {
                if let Some(own) = registry::credentials_in(&file, &host)? {
                    keyring.insert(host, own);
                }
            }
            Ok(keyring)
        };
        tokio::task::spawn_blocking(read).await.map_err(ImageError::Task)?.map_err(ImageError::Credentials)
    }
}

impl Pull {
    async fn fetch_all(self: Arc<Self>) -> Result<Fetched, ImageError> {
        let Found { manifest, source, layers, mut held } = self.find().await?;
        let blobs = held.iter().map(|document| document.digest).chain(layers.iter().map(|layer| layer.blob.digest));
        let _ = self.wanted.set(Reachable::of(blobs, layers.iter().map(|layer| layer.diff_id)));
        let bytes = layers.iter().fold(0_u64, |sum, layer| sum.saturating_add(layer.blob.size));
        self.progress.expect(bytes, layers.len());
        let stored = |source: StoreError| self.stored(source.into());
        let needs = self.room.needs(&self.images.store, &layers).await;
        room::check(&self.images.store, needs).map_err(stored)?;
        let mut tasks = JoinSet::new();
        let mut begun = HashSet::new();
        for layer in layers {
            // Some images have one layer twice, the empty one above all.
            if begun.insert((layer.blob.digest, layer.diff_id)) {
                tasks.spawn(Arc::clone(&self).layer(layer));
            } else {
                self.progress.stored(layer.blob.size);
                self.progress.unpacked();
            }
        }
        // The first failure ends the others, which are dropped with the set.
        while let Some(done) = tasks.join_next().await {
            held.push(done.map_err(ImageError::Task)?.map_err(|error| self.with_needs(needs, error))?);
        }
        Ok(Fetched { manifest, source, held })
    }

    /// Where others filled the disk meanwhile, what came is let go, so the next attempt needs room for all of it again.
    fn with_needs(&self, needs: Bytes, error: ImageError) -> ImageError {
        match error.without_room().map(|_| room::check(&self.images.store, needs)) {
            Some(Err(full)) => self.stored(full.into()),
            _ => error,
        }
    }

    /// The documents of the image for this machine, verified and stored.
    async fn find(&self) -> Result<Found, ImageError> {
        let machine = Platform::of_this_machine();
        let mut fetched = self.remote.manifest().await?;
        let source = fetched.digest;
        let mut media_type = fetched.media_type;
        let document = Document::parse(&fetched.bytes, fetched.media_type).map_err(|error| self.unusable(error))?;
        let manifest = match document {
            Document::Manifest(manifest) => manifest,
            Document::Index(index) => {
                let (chosen, as_listed) = index.choose(&machine).map_err(|error| self.unusable(error))?;
                fetched = self.remote.manifest_of(chosen).await?;
                // What the index says of it, not what it was sent as, since the index has its digest.
                media_type = as_listed;
                self.only_manifest(&fetched.bytes, media_type)?
            }
        };
        let media_type = media_type.as_str().to_owned();
        let size = fetched.bytes.len() as u64;
        let descriptor = Descriptor { media_type, digest: fetched.digest, size };
        let (config, stored) = self.config(&manifest).await?;
        let parsed = oci::ImageConfig::parse(&config, &manifest).map_err(|error| self.unusable(error))?;
        parsed.check_platform(&machine).map_err(|error| self.unusable(error))?;
        let layers = oci::layers(&manifest, &parsed).map_err(|error| self.unusable(error))?;
        let held = vec![self.images.store.put(fetched.bytes).await?, stored];
        Ok(Found { manifest: descriptor, source, layers, held })
    }

    /// The configuration, from the store where it is there already.
    async fn config(&self, manifest: &ImageManifest) -> Result<(Chunk, StoredBlob), ImageError> {
        let store = &self.images.store;
        if let Some(stored) = store.find(manifest.config.clone()).await
            && let Ok(content) = store.read(stored.digest, CONFIG_BYTES_MAX).await
        {
            return Ok((content.into(), stored));
        }
        let content = match self.remote.config(manifest).await {
            Err(error) if self.remote.has_mirrors() && error.is_wrong_content() => {
                self.remote.without_mirrors().config(manifest).await?
            }
            content => content?,
        };
        let stored = store.put(content.clone()).await?;
        Ok((content, stored))
    }

    fn only_manifest(&self, content: &[u8], media_type: MediaType) -> Result<ImageManifest, ImageError> {
        match Document::parse(content, media_type).map_err(|error| self.unusable(error))? {
            Document::Manifest(manifest) => Ok(manifest),
            Document::Index(_) => Err(self.unusable(DocumentError::Nested)),
        }
    }

    /// Has one layer fetched, where it is not there, and unpacked.
    async fn layer(self: Arc<Self>, layer: Layer) -> Result<StoredBlob, ImageError> {
        let Inner { store, layers, blobs, settings, .. } = &*self.images;
        let image = self.reference.familiar();
        let _only_one = blobs.lock(layer.blob.digest).await;
        let (mut blob, was_there) = match store.find(layer.blob.clone()).await {
            Some(blob) => {
                self.progress.stored(layer.blob.size);
                (blob, true)
            }
            None => (self.fetch(&layer.blob).await?, false),
        };
        let unpack = || layers.unpack(&layer, settings.layer_bytes_max, &image, &self.unnamed);
        let mut unpacked = unpack().await;
        let may_be_damaged = was_there && matches!(unpacked, Err(ImageError::Unpack { .. }));
        if may_be_damaged && store.verify(blob.digest).await.is_err() {
            tracing::warn!(layer = %layer.blob.digest, "a stored layer is damaged, and is fetched again");
            self.progress.lost(layer.blob.size);
            blob = self.fetch(&layer.blob).await?;
            unpacked = unpack().await;
        }
        unpacked?;
        self.progress.unpacked();
        Ok(blob)
    }

    async fn fetch(&self, blob: &Descriptor) -> Result<StoredBlob, ImageError> {
        let _turn = self.fetches.acquire().await.map_err(|_| ImageError::Draining)?;
        match self.fetch_from(&self.remote, blob).await {
            // Who of them sent other bytes is not known, and the registry itself has the last word.
            Err(ImageError::Stored { source, .. })
                if self.remote.has_mirrors() && matches!(*source, ImageStoreError::Digest { .. }) =>
            {
                tracing::warn!(blob = %blob.digest, "a mirror sent other bytes; the registry itself is asked");
                self.progress.lost(blob.size);
                self.fetch_from(&self.remote.without_mirrors(), blob).await
            }
            fetched => fetched,
        }
    }

    async fn fetch_from(&self, remote: &RemoteImage, blob: &Descriptor) -> Result<StoredBlob, ImageError> {
        let stored = |source| self.stored(source);
        let writer = self.images.store.writer(blob.clone()).map_err(stored)?;
        let mut watched = Watched { writer, progress: &self.progress };
        remote.blob(blob, &mut watched).await?;
        watched.writer.finish().await.map_err(stored)
    }

    fn stored(&self, source: ImageStoreError) -> ImageError {
        ImageError::Stored { image: self.reference.familiar(), source: Box::new(source) }
    }

    fn unusable(&self, source: DocumentError) -> ImageError {
        ImageError::Document { image: self.reference.familiar(), source: Box::new(source) }
    }
}

/// A blob on its way into the store, and how far it has come.
struct Watched<'a> {
    writer: BlobWriter,
    progress: &'a Progress,
}

impl BlobSink for Watched<'_> {
    type Error = ImageStoreError;

    fn received(&self) -> u64 {
        self.writer.bytes()
    }

    async fn write(&mut self, chunk: Chunk) -> Result<(), ImageStoreError> {
        let bytes = chunk.len() as u64;
        self.writer.write(chunk).await?;
        self.progress.stored(bytes);
        Ok(())
    }

    async fn restart(&mut self) -> Result<(), ImageStoreError> {
        self.progress.lost(self.writer.bytes());
        self.writer.restart().await
    }
}

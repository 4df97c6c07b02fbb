use std::{
    collections::{BTreeSet, HashSet},
    error::Error,
    sync::Arc,
};

use dormouse_image::{Freed, oci::Descriptor};
use dormouse_spec::{Bytes, Digest, EndpointName, ImageReference};
use tokio::sync::RwLockWriteGuard;

use super::{ImageError, Images, Inner, content::Content};

/// What was taken away.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    pub images: BTreeSet<ImageReference>,
    pub freed: Collected,
}

/// What a collection of garbage gave back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Of blobs.
    pub bytes: Bytes,
    /// Layers that were unpacked.
    pub layers: usize,
    /// Something is being stored, and collects when it ends; or something could not be deleted, as the log
    /// tells.
    pub is_incomplete: bool,
}

/// What names lead to, what endpoints run, and what pulls that failed will be glad of.
#[derive(Debug, Clone, Default)]
pub(super) struct Reachable {
    pub(super) blobs: HashSet<Digest>,
    /// By their names unpacked.
    pub(super) layers: HashSet<Digest>,
}

impl Reachable {
    fn add(&mut self, Content { manifest, layers, .. }: &Content) {
        self.blobs.insert(manifest.config.digest);
        self.blobs.extend(layers.iter().map(|layer| layer.blob.digest));
        self.layers.extend(layers.iter().map(|layer| layer.diff_id));
    }
}

impl Images {
    /// After something became unreachable, or may have, as in an earlier life; what cannot be collected now
    /// is another time.
    pub(crate) async fn collect_garbage(self) {
        self.inner.collect().await;
        // Other images may go, which is nothing that whoever is here waits for.
        tokio::spawn(async move { self.inner.make_room(Bytes::default()).await });
    }

    /// Takes names away, and what no other name leads to.
    ///
    /// # Errors
    /// Where one of the names is none; then none is taken away.
    pub async fn remove(&self, references: Vec<ImageReference>) -> Result<Removed, ImageError> {
        let store = &self.inner.store;
        let named = references.iter().map(|reference| Ok(store.named(reference)?.reference));
        let named = named.collect::<Result<BTreeSet<_>, ImageError>>()?;
        named.iter().for_each(|reference| self.inner.failed.forget(reference));
        self.take_away(named).await
    }

    /// Takes every image away that no endpoint runs, and what pulls that failed had fetched.
    ///
    /// # Errors
    /// See [`ImageError`].
    pub async fn prune(&self) -> Result<Removed, ImageError> {
        let run = self.inner.run_by_endpoints().await?;
        self.inner.failed.let_go();
        let unused = self.inner.store.names()?.into_iter().filter(|named| !run.contains(&named.manifest.digest));
        self.take_away(unused.map(|named| named.reference).collect()).await
    }

    /// In a task of its own: who asked may go away, and must not leave it half done.
    async fn take_away(&self, references: BTreeSet<ImageReference>) -> Result<Removed, ImageError> {
        let inner = Arc::clone(&self.inner);
        let taking_away = tokio::spawn(async move {
            let images = inner.store.unname(references).await?;
            Ok(Removed { images, freed: inner.collect().await })
        });
        taking_away.await.map_err(ImageError::Task)?
    }
}

impl Inner {
    /// Deletes what no name leads to, unless something is being stored: its end collects as well. Runs in a task
    /// that nobody drops.
    pub(super) async fn collect(&self) -> Collected {
        let _only_one = self.collecting.lock().await;
        match self.unnamed.try_write() {
            Ok(nothing_unnamed) => self.collect_alone(&nothing_unnamed).await,
            Err(_) => Collected { is_incomplete: true, ..Collected::default() },
        }
    }

    /// For whoever is the one that collects, while nothing is stored that has no name.
    pub(super) async fn collect_alone(&self, _nothing_unnamed: &RwLockWriteGuard<'_, ()>) -> Collected {
        let incomplete = Collected { is_incomplete: true, ..Collected::default() };
        let reachable = match self.reachable().await {
            Ok(reachable) => reachable,
            Err(error) => {
                tracing::warn!(error = &error as &dyn Error, "nothing is deleted: what images need is not known");
                return incomplete;
            }
        };
        // Layers first: a blob that is left without its layer is unpacked again, and not the other way round.
        let (layers, is_incomplete) = self.collect_layers(&reachable.layers).await;
        match self.store.collect_garbage(reachable.blobs).await {
            Ok(Freed { bytes, .. }) => Collected { bytes, layers, is_incomplete },
            Err(error) => {
                tracing::warn!(error = &error as &dyn Error, "blobs that no image needs are kept");
                Collected { layers, ..incomplete }
            }
        }
    }

    /// How many were removed, and whether some could not be.
    async fn collect_layers(&self, reachable: &HashSet<Digest>) -> (usize, bool) {
        let (mut removed, mut is_incomplete) = (0, false);
        let layers = self.layers.clone();
        let unpacked = tokio::task::spawn_blocking(move || layers.unpacked()).await.map_err(ImageError::Task);
        let unpacked = unpacked.and_then(|unpacked| unpacked).unwrap_or_else(|error| {
            tracing::warn!(error = &error as &dyn Error, "unpacked layers that no image needs are kept");
            is_incomplete = true;
            HashSet::new()
        });
        for diff_id in unpacked.difference(reachable) {
            match self.layers.remove(*diff_id).await {
                Ok(()) => removed += 1,
                Err(error) => {
                    tracing::warn!(error = &error as &dyn Error, "an unpacked layer that no image needs is kept");
                    is_incomplete = true;
                }
            }
        }
        (removed, is_incomplete)
    }

    /// # Errors
    /// Where an image cannot be read: what it needs is not known then.
    async fn reachable(&self) -> Result<Reachable, ImageError> {
        let mut reachable = Reachable::default();
        self.failed.keep(&mut reachable);
        // A replica needs layers alone; what it was unpacked from is kept as far as it is known.
        let run = self.run_by_endpoints().await?;
        for content in self.contents_of_endpoints().await? {
            reachable.add(&content);
        }
        reachable.blobs.extend(&run);
        reachable.layers.extend(run);
        for named in self.store.names()? {
            let content = Content::read(&self.store, &named.manifest, &named.reference.familiar()).await?;
            reachable.blobs.insert(named.manifest.digest);
            reachable.add(&content);
        }
        Ok(reachable)
    }

    /// Every digest that desired state names: of manifests and of layers, and of models.
    pub(super) async fn run_by_endpoints(&self) -> Result<HashSet<Digest>, ImageError> {
        self.endpoints.digests().await.map_err(|error| ImageError::Endpoints(Box::new(error)))
    }

    /// What images of endpoints are made of, as far as it is stored.
    pub(super) async fn contents_of_endpoints(&self) -> Result<Vec<Content>, ImageError> {
        let mut contents = Vec::new();
        for (name, manifest) in self.manifests_of_endpoints().await? {
            match Content::read(&self.store, &manifest, name.as_str()).await {
                Ok(content) => contents.push(content),
                Err(error) => {
                    tracing::debug!(endpoint = %name, error = &error as &dyn Error, "not all of its image is stored");
                }
            }
        }
        Ok(contents)
    }

    async fn manifests_of_endpoints(&self) -> Result<Vec<(EndpointName, Descriptor)>, ImageError> {
        let loaded = self.endpoints.load().await.map_err(|error| ImageError::Endpoints(Box::new(error)))?;
        let images = loaded.into_iter().filter_map(|(name, desired)| {
            let desired = desired.ok()?;
            let image = desired.image()?;
            // Its size is looked at where it is fetched, not where it is read.
            Some((name, Descriptor { media_type: image.media_type.clone(), digest: image.manifest, size: 0 }))
        });
        Ok(images.collect())
    }
}

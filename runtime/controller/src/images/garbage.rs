use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    error::Error,
    sync::Arc,
};

use dormouse_image::{Freed, ImageStore, ImageStoreError, oci::Descriptor};
use dormouse_spec::{Bytes, Digest, EndpointName, ImageReference};
use tokio::sync::RwLockWriteGuard;

use super::{ImageError, Images, Inner, content::Content, failed::FailedPulls};

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

    /// Takes names away, and what no other name leads to, or what a pull of such a name had fetched that failed.
    ///
    /// # Errors
    /// Where one of the names is none; then none is taken away.
    pub async fn remove(&self, references: Vec<ImageReference>) -> Result<Removed, ImageError> {
        let Inner { store, failed, .. } = &*self.inner;
        let seen = seen(store, failed, &references)?;
        seen.keys().chain(&references).for_each(|reference| failed.forget(reference));
        self.take_away(seen).await
    }

    /// Takes every image away that no endpoint runs, and what pulls that failed had fetched.
    ///
    /// # Errors
    /// See [`ImageError`].
    pub async fn prune(&self) -> Result<Removed, ImageError> {
        // In this order: what is deployed in between is run, and a name that means something else by then stays.
        let named = self.inner.store.names()?;
        let run = self.inner.run_by_endpoints().await?;
        self.inner.failed.let_go();
        let named = named.into_iter().map(|named| (named.reference, named.manifest.digest));
        self.take_away(named.filter(|(_, manifest)| !run.contains(manifest)).collect()).await
    }

    /// In a task of its own: who asked may go away, and must not leave it half done.
    async fn take_away(&self, seen: BTreeMap<ImageReference, Digest>) -> Result<Removed, ImageError> {
        let inner = Arc::clone(&self.inner);
        let taking_away = tokio::spawn(async move {
            let images = inner.store.unname(seen).await?;
            Ok(Removed { images, freed: inner.collect().await })
        });
        taking_away.await.map_err(ImageError::Task)?
    }
}

/// The names that are to go, and what they mean now. One that is none, but that of a pull that failed, has nothing else to
/// be taken away.
fn seen(
    store: &ImageStore,
    failed: &FailedPulls,
    references: &[ImageReference],
) -> Result<BTreeMap<ImageReference, Digest>, ImageError> {
    let mut seen = BTreeMap::new();
    for reference in references {
        match store.all_named(reference) {
            Ok(images) => seen.extend(images.into_iter().map(|image| (image.reference, image.manifest.digest))),
            Err(ImageStoreError::NotFound(_)) if failed.reason(reference).is_some() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(seen)
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use dormouse_image::StoreLimits;

    use super::*;

    #[tokio::test]
    async fn what_a_pull_fetched_that_failed_is_taken_away_by_its_name_and_no_name_is_none() {
        let data = tempfile::tempdir().unwrap();
        let store = ImageStore::open(data.path(), StoreLimits::default()).unwrap();
        let reference = |name: &str| name.parse::<ImageReference>().unwrap();
        let manifest = Descriptor { media_type: String::new(), digest: Digest::from_sha256([1; 32]), size: 1 };
        for name in ["app:1", "app:2", "other:1"] {
            store.name(reference(name), manifest.clone(), None, Arc::default()).await.unwrap();
        }
        let failed = FailedPulls::default();
        failed.note(reference("broken:1"), "cut off".to_owned(), None);
        let seen = |names: &[&str]| {
            let references: Vec<_> = names.iter().map(|name| reference(name)).collect();
            let seen = seen(&store, &failed, &references).map_err(|error| error.to_string());
            seen.map(|seen| seen.keys().map(ImageReference::familiar).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(seen(&["broken:1"]), Ok(String::new()));
        assert_eq!(seen(&["broken:1", "app:1"]), Ok("app:1".to_owned()));
        assert_eq!(seen(&[&format!("app@{}", manifest.digest)]), Ok("app:1 app:2".to_owned()));
        assert!(seen(&["app:1", "none:1"]).unwrap_err().contains("none:1"));
    }
}

use std::collections::HashSet;

use dormouse_image::Freed;
use dormouse_spec::{Bytes, Digest, ImageReference};

use super::{ImageError, Images, Inner, content::Content};

/// What a prune took away.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    pub images: Vec<ImageReference>,
    /// Of blobs.
    pub bytes: Bytes,
    /// Layers that were unpacked.
    pub layers: usize,
}

/// What names lead to.
#[derive(Debug, Default)]
struct Reachable {
    blobs: HashSet<Digest>,
    layers: HashSet<Digest>,
}

impl Images {
    /// After something became unreachable, or may have, as in an earlier life; what cannot be collected now
    /// is another time.
    pub(crate) async fn collect_garbage(self) {
        if let Err(error) = self.inner.collect().await {
            tracing::warn!(error = &error as &dyn std::error::Error, "blobs and layers that no image needs are kept");
        }
    }

    /// Takes names away, and what no other name leads to.
    ///
    /// # Errors
    /// Where one of the names is none; then none is taken away.
    pub async fn remove(&self, references: Vec<ImageReference>) -> Result<Pruned, ImageError> {
        let removed: HashSet<ImageReference> = references.iter().cloned().collect();
        self.inner.store.unname(removed).await?;
        let (freed, layers) = self.inner.collect().await?;
        Ok(Pruned { images: references, bytes: freed.bytes, layers })
    }

    /// Takes every image away that no endpoint uses.
    ///
    /// # Errors
    /// See [`ImageError`].
    pub async fn prune(&self) -> Result<Pruned, ImageError> {
        let unused = self.inner.store.names().into_iter().map(|named| named.reference).collect();
        self.remove(unused).await
    }
}

/// Collects when something was stored, or was given up halfway: its future may be dropped anywhere.
#[derive(Debug)]
pub(super) struct CollectAfter(pub(super) Images);

impl Drop for CollectAfter {
    fn drop(&mut self) {
        tokio::spawn(self.0.clone().collect_garbage());
    }
}

impl Inner {
    /// Deletes what no name leads to, unless something is being stored: its end collects as well.
    async fn collect(&self) -> Result<(Freed, usize), ImageError> {
        let Ok(_nothing_unnamed) = self.unnamed.try_write() else { return Ok((Freed::default(), 0)) };
        let reachable = self.reachable().await?;
        // Layers first: a blob that is left without its layer is unpacked again, and not the other way round.
        let mut removed = 0;
        let layers = self.layers.clone();
        let unpacked = tokio::task::spawn_blocking(move || layers.unpacked()).await.map_err(ImageError::Task)??;
        for diff_id in unpacked.difference(&reachable.layers) {
            self.layers.remove(*diff_id).await?;
            removed += 1;
        }
        Ok((self.store.collect_garbage(reachable.blobs).await?, removed))
    }

    /// # Errors
    /// Where an image cannot be read: what it needs is not known then.
    async fn reachable(&self) -> Result<Reachable, ImageError> {
        let mut reachable = Reachable::default();
        for named in self.store.names() {
            let Content { manifest, layers, .. } =
                Content::read(&self.store, &named.manifest, &named.reference.to_string()).await?;
            reachable.blobs.extend([named.manifest.digest, manifest.config.digest]);
            reachable.blobs.extend(layers.iter().map(|layer| layer.blob.digest));
            reachable.layers.extend(layers.iter().map(|layer| layer.diff_id));
        }
        Ok(reachable)
    }
}

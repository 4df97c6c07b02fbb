use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use dormouse_image::{ImageStoreError, NamedImage};
use dormouse_spec::{Bytes, Digest, ImageReference};

use super::{
    super::{ImageError, Inner, content::Content},
    choice::{Kept, Part},
};

/// Images as the choice between them needs them, and their names.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) images: Vec<Kept>,
    pub(super) names: HashMap<Digest, BTreeSet<ImageReference>>,
    /// What endpoints need, whatever becomes of images.
    pub(super) needed: HashSet<Part>,
}

impl Inner {
    /// # Errors
    /// Where an image cannot be read: what it shares with others is not known then.
    pub(super) async fn known(&self) -> Result<Known, ImageError> {
        let run = self.run_by_endpoints().await?;
        let mut known = Known::default();
        // A model's digest is no layer's, and does no harm here.
        known.needed.extend(run.iter().flat_map(|digest| [Part::Blob(*digest), Part::Layer(*digest)]));
        for content in self.contents_of_endpoints().await? {
            known.needed.extend(parts(&content).into_keys());
        }
        let mut by_manifest: BTreeMap<Digest, Vec<NamedImage>> = BTreeMap::new();
        for named in self.store.names()? {
            by_manifest.entry(named.manifest.digest).or_default().push(named);
        }
        let last_uses = self.store.last_uses(by_manifest.keys().copied().collect()).await?;
        for (manifest, named) in by_manifest {
            let Some(first) = named.first() else { continue };
            let missing = || ImageStoreError::Missing { image: first.reference.familiar(), digest: manifest };
            let last_use = last_uses.get(&manifest).ok_or_else(missing)?;
            let content = Content::read(&self.store, &first.manifest, &first.reference.familiar()).await?;
            let mut parts = self.on_disk(parts(&content)).await?;
            parts.insert(Part::Blob(manifest), Bytes::new(first.manifest.size));
            let is_used = run.contains(&manifest) || self.store.is_held(&manifest);
            known.images.push(Kept { manifest, last_use: *last_use, is_used, parts });
            known.names.insert(manifest, named.into_iter().map(|named| named.reference).collect());
        }
        Ok(known)
    }

    /// With what unpacked layers take, as far as their records tell.
    async fn on_disk(&self, mut parts: HashMap<Part, Bytes>) -> Result<HashMap<Part, Bytes>, ImageError> {
        let layers = self.layers.clone();
        let look = move || {
            for (part, bytes) in &mut parts {
                if let Part::Layer(diff_id) = part {
                    *bytes = layers.record(diff_id).map(|record| Bytes::new(record.bytes)).unwrap_or_default();
                }
            }
            parts
        };
        tokio::task::spawn_blocking(look).await.map_err(ImageError::Task)
    }
}

fn parts(content: &Content) -> HashMap<Part, Bytes> {
    let config = &content.manifest.config;
    let mut parts = HashMap::from([(Part::Blob(config.digest), Bytes::new(config.size))]);
    for layer in &content.layers {
        parts.insert(Part::Blob(layer.blob.digest), Bytes::new(layer.blob.size));
        parts.insert(Part::Layer(layer.diff_id), Bytes::default());
    }
    parts
}

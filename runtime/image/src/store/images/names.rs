use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use dormouse_spec::{Digest, ImageReference};

use super::{ImageStore, ImageStoreError, Images, Inner, StoredBlob, blocking, directory, index};
use crate::oci::Descriptor;

/// Images with a name.
pub(super) const NAMES_MAX: usize = 1_024;

/// An image as its name leads to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedImage {
    pub reference: ImageReference,
    /// Of this machine's platform.
    pub manifest: Descriptor,
    /// The digest that its registry gave the reference: of the manifest, or of the index it was chosen
    /// from. None of an image that was imported.
    pub source: Option<Digest>,
    /// When it got its name, in seconds since 1970.
    pub named_at: u64,
}

/// What the index says.
#[derive(Debug)]
pub(super) struct Names {
    known: Mutex<Result<BTreeMap<ImageReference, NamedImage>, String>>,
}

impl Names {
    pub(super) fn read(store: &Inner) -> Self {
        let known = index::read(store).inspect_err(|damage| {
            tracing::error!(path = %store.path.display(), damage, "the index of images cannot be read");
        });
        Self { known: Mutex::new(known) }
    }

    pub(super) fn damage(&self) -> Option<String> {
        self.with(|known| known.as_ref().err().cloned())
    }

    fn with<T>(&self, look: impl FnOnce(&mut Result<BTreeMap<ImageReference, NamedImage>, String>) -> T) -> T {
        look(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The blobs that names lead to directly.
    pub(super) fn all(&self) -> Result<Vec<NamedImage>, ImageStoreError> {
        self.with(|known| match known {
            Ok(known) => Ok(known.values().cloned().collect()),
            Err(damage) => Err(ImageStoreError::Damaged(damage.clone())),
        })
    }
}

impl ImageStore {
    /// All images, by name.
    #[must_use]
    pub fn names(&self) -> Vec<NamedImage> {
        self.inner.names.all().unwrap_or_default()
    }

    /// The image of this name. One that is asked for by a digest alone is found under any name of its
    /// repository.
    #[must_use]
    pub fn named(&self, reference: &ImageReference) -> Option<NamedImage> {
        self.inner.names.with(|known| {
            let known = known.as_ref().ok()?;
            let has_digest = |image: &&NamedImage| {
                let same_repository = image.reference.registry() == reference.registry()
                    && image.reference.repository() == reference.repository();
                same_repository
                    && reference
                        .digest()
                        .is_some_and(|wanted| image.source == Some(wanted) || image.manifest.digest == wanted)
            };
            known.get(reference).or_else(|| known.values().find(has_digest)).cloned()
        })
    }

    /// Gives an image a name, or the name another image, for good: all its blobs are in the store, since
    /// `held` keeps them there until this is done.
    ///
    /// # Errors
    /// See [`ImageStoreError`]; the name then means what it meant before, but where the last step failed,
    /// the sync of the directory.
    pub async fn name(
        &self,
        reference: ImageReference,
        manifest: Descriptor,
        source: Option<Digest>,
        held: Arc<Vec<StoredBlob>>,
    ) -> Result<NamedImage, ImageStoreError> {
        let named_at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let image = NamedImage { reference, manifest, source, named_at };
        let images = Arc::clone(&self.inner);
        blocking(move || {
            directory::sync(&images.blobs, &images.blobs_path)?;
            images.change_names(|names| {
                if !names.contains_key(&image.reference) && names.len() >= NAMES_MAX {
                    return Err(ImageStoreError::Full { max: NAMES_MAX });
                }
                names.insert(image.reference.clone(), image.clone());
                Ok(())
            })?;
            drop(held);
            Ok(image)
        })
        .await
    }

    /// Takes a name away; its blobs go with the next [`ImageStore::collect_garbage`].
    ///
    /// # Errors
    /// [`ImageStoreError::NotFound`] where there is none, and where the disk fails.
    pub async fn unname(&self, references: HashSet<ImageReference>) -> Result<(), ImageStoreError> {
        let images = Arc::clone(&self.inner);
        blocking(move || {
            images.change_names(|names| {
                for reference in &references {
                    if names.remove(reference).is_none() {
                        return Err(ImageStoreError::NotFound(reference.clone()));
                    }
                }
                Ok(())
            })
        })
        .await
    }
}

impl Images {
    /// The index on disk changes before what is known of it does, and both under one lock.
    pub(super) fn change_names(
        &self,
        change: impl FnOnce(&mut BTreeMap<ImageReference, NamedImage>) -> Result<(), ImageStoreError>,
    ) -> Result<(), ImageStoreError> {
        self.names.with(|known| {
            let names = known.as_mut().map_err(|damage| ImageStoreError::Damaged(damage.clone()))?;
            let mut changed = names.clone();
            change(&mut changed)?;
            self.replace_file(index::FILE, &index::write(changed.values())?)?;
            // It holds from here on, although it may not outlive a power cut where this fails.
            *names = changed;
            Ok(self.sync()?)
        })
    }
}

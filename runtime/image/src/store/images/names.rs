use std::{
    collections::{BTreeMap, BTreeSet},
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

impl NamedImage {
    /// Whether it is of the same repository, and what the digest of this reference means.
    fn has_digest_of(&self, reference: &ImageReference) -> bool {
        let same_repository =
            self.reference.registry() == reference.registry() && self.reference.repository() == reference.repository();
        let is_it = |wanted| self.source == Some(wanted) || self.manifest.digest == wanted;
        same_repository && reference.digest().is_some_and(is_it)
    }
}

/// What the index says.
#[derive(Debug)]
pub(super) struct Names {
    /// Held for a moment only: whoever looks must not wait for a disk.
    known: Mutex<Known>,
    /// Held by the one change that is made.
    changing: Mutex<()>,
}

/// The images by name, or what is wrong with the index.
type Known = Result<BTreeMap<ImageReference, NamedImage>, String>;

impl Names {
    pub(super) fn read(store: &Inner) -> Self {
        let known = index::read(store).inspect_err(|damage| {
            tracing::error!(path = %store.path.display(), damage, "the index of images cannot be read");
        });
        Self { known: Mutex::new(known), changing: Mutex::default() }
    }

    pub(super) fn damage(&self) -> Option<String> {
        self.with(|known| known.as_ref().err().cloned())
    }

    fn with<T>(&self, look: impl FnOnce(&mut Known) -> T) -> T {
        look(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// All images, by name.
    pub(super) fn all(&self) -> Result<Vec<NamedImage>, ImageStoreError> {
        self.with(|known| match known {
            Ok(known) => Ok(known.values().cloned().collect()),
            Err(damage) => Err(ImageStoreError::Damaged(damage.clone())),
        })
    }
}

impl ImageStore {
    /// All images, by name.
    ///
    /// # Errors
    /// [`ImageStoreError::Damaged`].
    pub fn names(&self) -> Result<Vec<NamedImage>, ImageStoreError> {
        self.inner.names.all()
    }

    /// The image of this name. One that is asked for by a digest alone is found under any name of its
    /// repository.
    ///
    /// # Errors
    /// [`ImageStoreError::NotFound`], [`ImageStoreError::Damaged`].
    pub fn named(&self, reference: &ImageReference) -> Result<NamedImage, ImageStoreError> {
        self.inner.names.with(|known| {
            let known = known.as_ref().map_err(|damage| ImageStoreError::Damaged(damage.clone()))?;
            let found = known.get(reference).or_else(|| known.values().find(|image| image.has_digest_of(reference)));
            found.cloned().ok_or_else(|| ImageStoreError::NotFound(reference.clone()))
        })
    }

    /// The images whose names go where this one is to go: that of this name, or else all of its repository that have its
    /// digest, and its tag where it has one.
    ///
    /// # Errors
    /// [`ImageStoreError::NotFound`], [`ImageStoreError::Damaged`].
    pub fn all_named(&self, reference: &ImageReference) -> Result<Vec<NamedImage>, ImageStoreError> {
        self.inner.names.with(|known| {
            let known = known.as_ref().map_err(|damage| ImageStoreError::Damaged(damage.clone()))?;
            if let Some(found) = known.get(reference) {
                return Ok(vec![found.clone()]);
            }
            let has_tag = |image: &&NamedImage| reference.tag().is_none_or(|tag| image.reference.tag() == Some(tag));
            let found = known.values().filter(|image| image.has_digest_of(reference)).filter(has_tag);
            let found: Vec<_> = found.cloned().collect();
            if found.is_empty() { Err(ImageStoreError::NotFound(reference.clone())) } else { Ok(found) }
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
            if let Err(error) = images.note_use(&image.manifest.digest) {
                // It has the time of its file until it is used again.
                tracing::warn!(error = &error as &dyn std::error::Error, "when an image was used is not noted");
            }
            drop(held);
            Ok(image)
        })
        .await
    }

    /// Takes names away, each from the manifest that it was seen to have; their blobs go with the next
    /// [`ImageStore::collect_garbage`]. Names that are none, or mean something else by now, are passed over. Returns those
    /// that were.
    ///
    /// # Errors
    /// Where the disk fails.
    pub async fn unname(
        &self,
        seen: BTreeMap<ImageReference, Digest>,
    ) -> Result<BTreeSet<ImageReference>, ImageStoreError> {
        let images = Arc::clone(&self.inner);
        blocking(move || {
            let mut taken = BTreeSet::new();
            images.change_names(|names| {
                for (reference, manifest) in seen {
                    if names.get(&reference).is_some_and(|image| image.manifest.digest == manifest) {
                        names.remove(&reference);
                        taken.insert(reference);
                    }
                }
                Ok(())
            })?;
            Ok(taken)
        })
        .await
    }
}

impl Images {
    /// The index on disk changes before what is known of it does.
    pub(super) fn change_names(
        &self,
        change: impl FnOnce(&mut BTreeMap<ImageReference, NamedImage>) -> Result<(), ImageStoreError>,
    ) -> Result<(), ImageStoreError> {
        let _only_one = self.names.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let damaged = |damage: &String| ImageStoreError::Damaged(damage.clone());
        let mut changed = self.names.with(|known| known.as_ref().cloned().map_err(damaged))?;
        change(&mut changed)?;
        self.replace_file(index::FILE, &index::write(changed.values())?)?;
        // It holds from here on, although it may not outlive a power cut where this fails.
        self.names.with(|known| *known = Ok(changed));
        Ok(self.sync()?)
    }
}

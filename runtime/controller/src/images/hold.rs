//! An image that is about to be run: all of it is there, and stays while it is held.

use std::{error::Error, sync::Arc};

use dormouse_image::{
    ImageStoreError, NamedImage, StoredBlob,
    oci::{Descriptor, ImageConfig},
};
use dormouse_spec::{Bytes, Contract, Digest, ImageReference};

use super::{ImageError, Images, Unnamed, content::Content};
use crate::revision::{PinnedImage, ProcessError};

#[derive(Debug)]
pub(crate) struct HeldImage {
    manifest: Descriptor,
    config: ImageConfig,
    bytes: Bytes,
    _unnamed: Arc<Unnamed>,
}

impl HeldImage {
    /// What an endpoint keeps of it that is to keep to this.
    ///
    /// # Errors
    /// Where its configuration says something that cannot be done.
    pub(crate) fn pin(&self, contract: Contract) -> Result<PinnedImage, ProcessError> {
        let media_type = self.manifest.media_type.clone();
        PinnedImage::of(self.manifest.digest, media_type, self.bytes, &self.config, contract)
    }
}

impl Images {
    /// The image that has this name. Layers of it that are not unpacked, as after a damage, are.
    ///
    /// # Errors
    /// Where there is none of this name, or something of it is not there.
    pub(crate) async fn hold(&self, reference: &ImageReference) -> Result<HeldImage, ImageError> {
        let inner = &self.inner;
        let guard = Arc::clone(&inner.unnamed).read_owned().await;
        let unnamed = Arc::new(Unnamed::new(self.clone(), guard));
        let (image, named) = (reference.familiar(), self.named(reference)?);
        drop(self.note_use(named.manifest.digest).await);
        let Content { config, layers, .. } = Content::read(&inner.store, &named.manifest, &image).await?;
        for layer in &layers {
            inner.layers.unpack(layer, inner.settings.layer_bytes_max, &image, &unnamed).await?;
        }
        let view = super::content::view(&inner.store, &inner.layers, &named).await?;
        let bytes = view.unpacked_bytes().unwrap_or_default();
        Ok(HeldImage { manifest: named.manifest, config, bytes, _unnamed: unnamed })
    }

    /// With what became of the last attempt to get it, where there is none.
    fn named(&self, reference: &ImageReference) -> Result<NamedImage, ImageError> {
        self.inner.store.named(reference).map_err(|error| match (&error, self.inner.failed.reason(reference)) {
            (ImageStoreError::NotFound(_), Some(reason)) => {
                ImageError::NotPulled { image: reference.familiar(), reason }
            }
            _ => error.into(),
        })
    }

    /// Notes that an image is used, and keeps it under its names while the value lives: for replicas that run on when
    /// it is written down no more that they are to. None where it is not in the store.
    pub(crate) async fn note_use(&self, manifest: Digest) -> Option<StoredBlob> {
        let store = &self.inner.store;
        match store.note_use(manifest).await {
            Ok(kept) => Some(kept),
            Err(error) => {
                let error: &ImageStoreError = &error;
                tracing::debug!(%manifest, error = error as &dyn Error, "when an image was used is not noted");
                store.keep(manifest).await.ok()
            }
        }
    }
}

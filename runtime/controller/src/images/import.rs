use std::{os::fd::OwnedFd, sync::Arc};

use dormouse_image::{ArchiveError, ImportedImage, oci::Platform};
use dormouse_spec::ImageReference;
use tokio::sync::watch;

use super::{
    ImageError, ImageProgress, ImageView, Images, Inner, content::Content, garbage::CollectAfter, progress::Progress,
};

impl Images {
    /// Stores, unpacks and names the images of an archive. `name` is for the only one that it has.
    ///
    /// # Errors
    /// See [`ImageError`]; images that come later in the archive then have no name.
    pub async fn import(
        &self,
        archive: OwnedFd,
        name: Option<ImageReference>,
        progress: watch::Sender<ImageProgress>,
    ) -> Result<Vec<ImageView>, ImageError> {
        let _collect = CollectAfter(self.clone());
        let _turn = self.inner.turn().await?;
        self.inner.import(archive, name, Progress::new(progress)).await
    }
}

impl Inner {
    async fn import(
        &self,
        archive: OwnedFd,
        name: Option<ImageReference>,
        progress: Progress,
    ) -> Result<Vec<ImageView>, ImageError> {
        let _unnamed = self.unnamed.read().await;
        let told = progress.clone();
        let imported = self.store.import(archive, move |bytes| told.read(bytes)).await?;
        let mut views = Vec::new();
        for (image, names) in with_names(imported.images, name)? {
            self.unpack_imported(&image, &progress).await?;
            for name in names {
                let held = Arc::clone(&imported.held);
                let named = self.store.name(name, image.manifest.clone(), None, held).await?;
                views.push(self.view(named).await);
            }
        }
        Ok(views)
    }

    async fn unpack_imported(&self, image: &ImportedImage, progress: &Progress) -> Result<(), ImageError> {
        let called = image.names.first().map_or_else(|| image.manifest.digest.to_string(), ImageReference::familiar);
        let content = Content::read(&self.store, &image.manifest, &called).await?;
        let fits = content.config.check_platform(&Platform::of_this_machine());
        fits.map_err(|source| ImageError::Document { image: called.clone(), source: Box::new(source) })?;
        progress.expect(0, content.layers.len());
        for layer in &content.layers {
            self.layers.unpack(layer, self.settings.layer_bytes_max, &called).await?;
            progress.unpacked();
        }
        Ok(())
    }
}

fn with_names(
    images: Vec<ImportedImage>,
    name: Option<ImageReference>,
) -> Result<Vec<(ImportedImage, Vec<ImageReference>)>, ArchiveError> {
    let count = images.len();
    if let Some(name) = name {
        let only = images.into_iter().next().filter(|_| count == 1);
        return Ok(vec![(only.ok_or(ArchiveError::SeveralImages { count })?, vec![name])]);
    }
    let named = |image: ImportedImage| {
        let names = image.names.clone();
        if names.is_empty() { Err(ArchiveError::NoName(image.manifest.digest)) } else { Ok((image, names)) }
    };
    images.into_iter().map(named).collect()
}

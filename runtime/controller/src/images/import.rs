use std::{collections::BTreeSet, os::fd::OwnedFd, sync::Arc};

use dormouse_image::{ArchiveError, ImportedImage, oci::Platform};
use dormouse_spec::ImageReference;
use tokio::sync::watch;

use super::{ImageError, ImageProgress, ImageView, Images, Inner, Unnamed, content::Content, progress::Progress};

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
        self.transfer(async move |images: Arc<Inner>, unnamed, caller| {
            images.store.names()?;
            let progress = Progress::new(progress);
            let told = progress.clone();
            let imported = images.store.import(archive, caller.went_away(), move |bytes| told.read(bytes)).await?;
            let mut views = Vec::new();
            for (image, names) in with_names(imported.images, name)? {
                images.unpack_imported(&image, &names, &progress, &unnamed).await?;
                for name in names {
                    let held = Arc::clone(&imported.held);
                    let named = images.store.name(name, image.manifest.clone(), None, held).await?;
                    views.push(images.view(named).await);
                }
            }
            Ok(views)
        })
        .await
    }
}

impl Inner {
    async fn unpack_imported(
        &self,
        image: &ImportedImage,
        names: &BTreeSet<ImageReference>,
        progress: &Progress,
        unnamed: &Arc<Unnamed>,
    ) -> Result<(), ImageError> {
        let called = names.first().map_or_else(|| image.manifest.digest.to_string(), ImageReference::familiar);
        let content = Content::read(&self.store, &image.manifest, &called).await?;
        let fits = content.config.check_platform(&Platform::of_this_machine());
        fits.map_err(|source| ImageError::Document { image: called.clone(), source: Box::new(source) })?;
        progress.expect(0, content.layers.len());
        for layer in &content.layers {
            self.layers.unpack(layer, self.settings.layer_bytes_max, &called, unnamed).await?;
            progress.unpacked();
        }
        Ok(())
    }
}

fn with_names(
    images: Vec<ImportedImage>,
    name: Option<ImageReference>,
) -> Result<Vec<(ImportedImage, BTreeSet<ImageReference>)>, ArchiveError> {
    let count = images.len();
    if let Some(name) = name {
        let only = images.into_iter().next().filter(|_| count == 1);
        return Ok(vec![(only.ok_or(ArchiveError::SeveralImages { count })?, [name].into())]);
    }
    let named = |image: ImportedImage| image.references().map(|names| (image, names));
    images.into_iter().map(named).collect()
}

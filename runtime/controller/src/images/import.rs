use std::{
    collections::BTreeSet,
    fs::{File, Metadata},
    io::{Seek, SeekFrom},
    os::fd::OwnedFd,
    sync::Arc,
};

use dormouse_image::{ArchiveError, ImportedImage, oci::Platform};
use dormouse_spec::{Bytes, ImageReference};
use tokio::{sync::watch, task::spawn_blocking};

use super::{
    ImageError, ImageProgress, ImageView, Images, Inner, Unnamed, content::Content, progress::Progress,
    room::UNPACKED_TIMES,
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
        let progress = Progress::new(progress);
        let again = if self.makes_room() { Again::of(&archive).await? } else { None };
        let mut imported = self.try_import(archive, name.clone(), progress.clone()).await;
        let Some(mut again) = again else { return imported };
        for times in NEEDS {
            let has_no_room = imported.as_ref().err().and_then(ImageError::without_room).is_some();
            if has_no_room && self.make_room_for(again.needs(times)).await {
                progress.begin_anew();
                let archive;
                (again, archive) = again.rewound().await?;
                imported = self.try_import(archive, name.clone(), progress.clone()).await;
            }
        }
        again.close().await;
        imported
    }

    async fn try_import(
        &self,
        archive: OwnedFd,
        name: Option<ImageReference>,
        progress: Progress,
    ) -> Result<Vec<ImageView>, ImageError> {
        self.transfer(async move |images: Arc<Inner>, unnamed, caller| {
            images.store.names()?;
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

/// What an archive takes, as a multiple of its own bytes: with layers that come as they are, and where that was not
/// enough, with compressed ones.
const NEEDS: [u64; 2] = [2, 1 + UNPACKED_TIMES];

/// An archive that can be read once more, because it is a file. Whoever serves the file may let each operation wait, the
/// last of them too: none is for a thread that others need.
struct Again {
    file: File,
    from: u64,
    bytes: u64,
}

impl Again {
    async fn of(archive: &OwnedFd) -> Result<Option<Self>, ImageError> {
        let Ok(twin) = archive.try_clone() else { return Ok(None) };
        let look = move || {
            let mut file = File::from(twin);
            let metadata = file.metadata().ok().filter(Metadata::is_file)?;
            let from = file.stream_position().ok()?;
            Some(Self { file, from, bytes: metadata.len().saturating_sub(from) })
        };
        spawn_blocking(look).await.map_err(ImageError::Task)
    }

    fn needs(&self, times: u64) -> Bytes {
        Bytes::new(self.bytes.saturating_mul(times))
    }

    async fn rewound(mut self) -> Result<(Self, OwnedFd), ImageError> {
        let rewind = move || {
            let twin = self.file.seek(SeekFrom::Start(self.from)).and_then(|_| self.file.try_clone());
            let twin = twin.map_err(|error| ImageError::from(ArchiveError::Read(error)))?;
            Ok((self, twin.into()))
        };
        spawn_blocking(rewind).await.map_err(ImageError::Task)?
    }

    async fn close(self) {
        // That it cannot be closed is nothing that whoever imports could change.
        let _ = spawn_blocking(move || drop(self)).await;
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
        let only = only.ok_or(ArchiveError::SeveralImages { count })?;
        let name = only.called(name)?;
        return Ok(vec![(only, [name].into())]);
    }
    let named = |image: ImportedImage| image.references().map(|names| (image, names));
    images.into_iter().map(named).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use dormouse_image::oci::Descriptor;
    use dormouse_spec::Digest;

    use super::*;

    #[test]
    fn a_name_that_is_given_is_no_name_of_other_content_either() {
        let [is, other] = [1, 2].map(|byte| Digest::from_sha256([byte; 32]));
        let manifest = Descriptor { media_type: String::new(), digest: is, size: 1 };
        let image = ImportedImage { names: Vec::new(), manifest, indexes: BTreeSet::new() };
        let named = |name: String| {
            let named = with_names(vec![image.clone()], Some(name.parse().unwrap()));
            named.map(|mut named| named.remove(0).1).map_err(|error| error.to_string())
        };
        for name in ["app:1".to_owned(), format!("app@{is}")] {
            assert_eq!(named(name.clone()).unwrap(), [name.parse().unwrap()].into());
        }
        let told = named(format!("app:1@{other}")).unwrap_err();
        assert!(told.contains(&is.to_string()) && told.contains("without a digest"), "{told}");
    }
}

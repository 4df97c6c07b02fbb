use dormouse_image::{
    ImageStore, NamedImage,
    oci::{
        self, CONFIG_BYTES_MAX, Descriptor, Document, DocumentError, ImageConfig, ImageManifest, Layer,
        MANIFEST_BYTES_MAX,
    },
};

use super::{ImageContent, ImageError, LayerView, Layers};

/// The documents of an image.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) manifest: ImageManifest,
    pub(super) config: ImageConfig,
    pub(super) layers: Vec<Layer>,
}

impl Content {
    /// Of an image whose documents are in the store. `image` is for errors.
    pub(super) async fn read(store: &ImageStore, manifest: &Descriptor, image: &str) -> Result<Self, ImageError> {
        let unusable = |source| ImageError::Document { image: image.to_owned(), source: Box::new(source) };
        let content = store.read(manifest.digest, MANIFEST_BYTES_MAX).await?;
        let manifest = match Document::parse_as(&content, &manifest.media_type).map_err(unusable)? {
            Document::Manifest(manifest) => manifest,
            Document::Index(_) => return Err(unusable(DocumentError::Nested)),
        };
        let config = store.read(manifest.config.digest, CONFIG_BYTES_MAX).await?;
        let config = ImageConfig::parse(&config, &manifest).map_err(unusable)?;
        let layers = oci::layers(&manifest, &config).map_err(unusable)?;
        Ok(Self { manifest, config, layers })
    }
}

/// What is known of an image and its layers on disk.
pub(super) async fn view(store: &ImageStore, layers: &Layers, named: &NamedImage) -> Result<ImageContent, ImageError> {
    let content = Content::read(store, &named.manifest, &named.reference.familiar()).await?;
    let layers = layers.clone();
    let look = move || {
        let views = content.layers.iter().map(|layer| LayerView::of(layer, layers.record(&layer.diff_id)));
        ImageContent { layers: views.collect(), config: content.config }
    };
    tokio::task::spawn_blocking(look).await.map_err(ImageError::Task)
}

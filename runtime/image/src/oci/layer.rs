use dormouse_spec::Digest;

use crate::shown::shown;

use super::{Descriptor, DocumentError, ImageConfig, ImageManifest};

/// How the bytes of a layer are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Zstd,
}

/// A layer as it is stored, and as it is unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    pub blob: Descriptor,
    /// Of its archive, decompressed.
    pub diff_id: Digest,
    pub compression: Compression,
}

impl Compression {
    /// Of a layer's media type, as the OCI and Docker spell it, those that may not be passed on included.
    fn of(media_type: &str) -> Option<Self> {
        const ARCHIVES: [&str; 4] = [
            "application/vnd.oci.image.layer.v1.tar",
            "application/vnd.oci.image.layer.nondistributable.v1.tar",
            "application/vnd.docker.image.rootfs.diff.tar",
            "application/vnd.docker.image.rootfs.foreign.diff.tar",
        ];
        match ARCHIVES.iter().find_map(|archive| media_type.strip_prefix(archive))? {
            "" => Some(Self::None),
            "+gzip" | ".gzip" => Some(Self::Gzip),
            "+zstd" | ".zstd" => Some(Self::Zstd),
            _ => None,
        }
    }

    /// The media type of a layer.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::None => "application/vnd.oci.image.layer.v1.tar",
            Self::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }

    /// By how the bytes begin.
    #[must_use]
    pub fn detect(beginning: &[u8]) -> Self {
        match beginning {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            _ => Self::None,
        }
    }
}

/// The layers of an image, the lowest first, each with what it unpacks to.
///
/// # Errors
/// Where one is of a kind that cannot be unpacked.
pub fn layers(manifest: &ImageManifest, config: &ImageConfig) -> Result<Vec<Layer>, DocumentError> {
    let layer = |(blob, diff_id): (&Descriptor, &Digest)| {
        let unknown = || DocumentError::Layer { layer: blob.digest, media_type: shown(&blob.media_type) };
        let compression = Compression::of(&blob.media_type).ok_or_else(unknown)?;
        Ok(Layer { blob: blob.clone(), diff_id: *diff_id, compression })
    };
    manifest.layers.iter().zip(&config.diff_ids).map(layer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_is_a_tar_archive_as_it_is_or_compressed_by_gzip_or_zstd() {
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            assert_eq!(Compression::of(compression.media_type()), Some(compression));
        }
        for (media_type, compression) in [
            ("application/vnd.docker.image.rootfs.diff.tar.gzip", Some(Compression::Gzip)),
            ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", Some(Compression::Gzip)),
            ("application/vnd.oci.image.layer.v1.tar+xz", None),
            ("application/vnd.oci.image.layer.v1.tar+gzip+encrypted", None),
            ("application/vnd.cncf.helm.chart.content.v1.tar+gzip", None),
            ("application/x-sif", None),
        ] {
            assert_eq!(Compression::of(media_type), compression, "{media_type}");
        }
    }
}

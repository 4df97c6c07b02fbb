/// An `Accept` header that asks for each of [`MediaType`], in one line: some registries read only one.
pub(crate) const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.docker.distribution.manifest.v2+json";

/// What a document that a registry calls a manifest can be. Everything else is no image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MediaType {
    OciIndex,
    OciManifest,
    DockerManifestList,
    DockerManifest,
}

impl MediaType {
    const ALL: [Self; 4] = [Self::OciIndex, Self::OciManifest, Self::DockerManifestList, Self::DockerManifest];

    /// What a media type says, its parameters aside.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str().eq_ignore_ascii_case(without_parameters(text)))
    }

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OciIndex => "application/vnd.oci.image.index.v1+json",
            Self::OciManifest => "application/vnd.oci.image.manifest.v1+json",
            Self::DockerManifestList => "application/vnd.docker.distribution.manifest.list.v2+json",
            Self::DockerManifest => "application/vnd.docker.distribution.manifest.v2+json",
        }
    }

    /// Whether the document lists images, one a platform, rather than being one.
    #[must_use]
    pub const fn is_index(self) -> bool {
        matches!(self, Self::OciIndex | Self::DockerManifestList)
    }
}

/// Docker's first format, which names layers without their digests.
pub(crate) fn is_schema1(text: &str) -> bool {
    without_parameters(text).starts_with("application/vnd.docker.distribution.manifest.v1+")
}

/// Whether a media type is one of an image's configuration.
pub(super) fn is_image_config(text: &str) -> bool {
    matches!(text, "application/vnd.oci.image.config.v1+json" | "application/vnd.docker.container.image.v1+json")
}

fn without_parameters(text: &str) -> &str {
    text.split(';').next().unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_understood_is_accepted() {
        assert_eq!(ACCEPTED.split(", ").map(MediaType::parse).collect::<Vec<_>>(), MediaType::ALL.map(Some));
    }

    #[test]
    fn parameters_and_case_do_not_matter() {
        let text = "Application/vnd.oci.image.manifest.v1+json; charset=utf-8";
        assert_eq!(MediaType::parse(text), Some(MediaType::OciManifest));
        assert_eq!(MediaType::parse("application/json"), None);
        assert!(is_schema1("application/vnd.docker.distribution.manifest.v1+prettyjws"));
    }
}

mod registry;

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

pub use registry::Registry;

use crate::{Digest, DigestError};

/// The longest text that can be a reference, with some room: a registry, 255 bytes of repository,
/// 128 of tag and a digest.
const REFERENCE_BYTES_MAX: usize = 1024;
/// OCI distribution: what registries are known to accept.
const REPOSITORY_BYTES_MAX: usize = 255;
/// OCI distribution: the length of a tag.
const TAG_BYTES_MAX: usize = 128;
const TAG_BY_DEFAULT: &str = "latest";
/// Where Docker Hub keeps the images whose names have one component.
const OFFICIAL: &str = "library/";

/// Which image is meant: a registry, a repository in it, and a tag, a digest or both.
///
/// Read as Docker and containerd read it: `busybox` is `docker.io/library/busybox:latest`, and the
/// first component is a registry only where it has a `.` or a `:` or is `localhost`. Where there
/// are a tag and a digest, the digest decides what is fetched.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageReference {
    registry: Registry,
    repository: String,
    version: Version,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Version {
    Tag(String),
    Digest(Digest),
    Both { tag: String, digest: Digest },
}

/// Why a text is not a reference to an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageReferenceError {
    #[error("an image needs a name: write it as `busybox` or `ghcr.io/owner/name:1.0`")]
    Empty,
    #[error("the name of an image has at most {REFERENCE_BYTES_MAX} bytes, not {bytes}")]
    TooLong { bytes: usize },
    #[error("`{reference}` is an address: write an image without `{scheme}://`, as in `ghcr.io/owner/name:1.0`")]
    Scheme { reference: String, scheme: String },
    #[error("`{reference}` is a digest without a name: write `busybox@sha256:…`, with the name of its image")]
    DigestAlone { reference: String },
    #[error(
        "`{registry}` is not a registry: expected a host name or address and an optional port, as in `ghcr.io` or \
         `localhost:5000`"
    )]
    Registry { registry: String },
    #[error(
        "`{repository}` is not a repository: expected components of a-z and 0-9, each with single `.`, `_`, `__` or \
         dashes inside, and `/` between them, as in `owner/my-image`"
    )]
    Repository { repository: String },
    #[error("the repository of an image has at most {REPOSITORY_BYTES_MAX} bytes, not {bytes}")]
    RepositoryTooLong { bytes: usize },
    #[error(
        "`{tag}` is not a tag: use 1 to {TAG_BYTES_MAX} of A-Z, a-z, 0-9, `_`, `.` and `-`, beginning with a letter, a \
         digit or `_`, as in `name:1.0`"
    )]
    Tag { tag: String },
    #[error("digests of `{algorithm}` are not supported: use the image's sha256, as in `name@sha256:…`")]
    Algorithm { algorithm: String },
    // Without the text before it, which may be a password that somebody put there.
    #[error("what follows the `@` of an image must be its digest")]
    Digest {
        #[source]
        source: DigestError,
    },
}

impl ImageReference {
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The repository as the registry calls it: `library/busybox`.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, `latest` where the text had neither a tag nor a digest. It may be absent only where
    /// there is a digest.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        match &self.version {
            Version::Tag(tag) | Version::Both { tag, .. } => Some(tag),
            Version::Digest(_) => None,
        }
    }

    /// The digest. Where it is present, nothing else may be fetched.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        match self.version {
            Version::Digest(digest) | Version::Both { digest, .. } => Some(digest),
            Version::Tag(_) => None,
        }
    }

    /// The shortest text that means the same: without `docker.io/` and `library/` where they go
    /// without saying. For people; names in files are in full.
    #[must_use]
    pub fn familiar(&self) -> String {
        let full = self.to_string();
        let Some(without_registry) = full.strip_prefix("docker.io/") else { return full };
        let short = without_registry.strip_prefix(OFFICIAL).unwrap_or(without_registry);
        // `docker.io/localhost/a` without its registry would be an image of another one.
        let means_the_same = |text: &&str| text.parse().as_ref() == Ok(self);
        [short, without_registry].into_iter().find(means_the_same).map_or_else(|| full.clone(), str::to_owned)
    }
}

impl FromStr for ImageReference {
    type Err = ImageReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        refuse_what_is_no_name(text)?;
        let (named, digest) = match text.split_once('@') {
            Some((named, digest)) => (named, Some(parse_digest(digest)?)),
            None => (text, None),
        };
        let (registry, rest) = match named.split_once('/') {
            Some((first, rest)) if registry::looks_like_a_registry(first) => (first.parse()?, rest),
            _ => (Registry::docker_hub(), named),
        };
        let (repository, tag) = match rest.split_once(':') {
            Some((repository, tag)) => (repository, Some(parse_tag(tag)?)),
            None => (rest, None),
        };
        let repository = parse_repository(&registry, repository)?;
        let version = match (tag, digest) {
            (Some(tag), Some(digest)) => Version::Both { tag, digest },
            (None, Some(digest)) => Version::Digest(digest),
            (tag, None) => Version::Tag(tag.unwrap_or_else(|| TAG_BY_DEFAULT.to_owned())),
        };
        Ok(Self { registry, repository, version })
    }
}

/// What people write by mistake, and what would otherwise be read as something they did not mean.
fn refuse_what_is_no_name(text: &str) -> Result<(), ImageReferenceError> {
    if text.is_empty() {
        return Err(ImageReferenceError::Empty);
    }
    if text.len() > REFERENCE_BYTES_MAX {
        return Err(ImageReferenceError::TooLong { bytes: text.len() });
    }
    if let Some((scheme, _)) = text.split_once("://") {
        return Err(ImageReferenceError::Scheme { reference: text.to_owned(), scheme: scheme.to_owned() });
    }
    // As a name it would be a tag of the image `sha256`.
    if text.parse::<Digest>().is_ok() {
        return Err(ImageReferenceError::DigestAlone { reference: text.to_owned() });
    }
    Ok(())
}

fn parse_digest(digest: &str) -> Result<Digest, ImageReferenceError> {
    match digest.split_once(':') {
        Some((algorithm, _)) if algorithm != "sha256" => {
            Err(ImageReferenceError::Algorithm { algorithm: algorithm.to_owned() })
        }
        _ => digest.parse().map_err(|source| ImageReferenceError::Digest { source }),
    }
}

fn parse_tag(tag: &str) -> Result<String, ImageReferenceError> {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    let is_tag = (1..=TAG_BYTES_MAX).contains(&tag.len()) && tag.bytes().all(inside) && !tag.starts_with(['.', '-']);
    if is_tag { Ok(tag.to_owned()) } else { Err(ImageReferenceError::Tag { tag: tag.to_owned() }) }
}

fn parse_repository(registry: &Registry, repository: &str) -> Result<String, ImageReferenceError> {
    if !repository.split('/').all(is_component) {
        return Err(ImageReferenceError::Repository { repository: repository.to_owned() });
    }
    let official = registry.is_docker_hub() && !repository.contains('/');
    let repository = if official { format!("{OFFICIAL}{repository}") } else { repository.to_owned() };
    match repository.len() {
        ..=REPOSITORY_BYTES_MAX => Ok(repository),
        bytes => Err(ImageReferenceError::RepositoryTooLong { bytes }),
    }
}

/// Letters and digits, with separators between them only.
fn is_component(component: &str) -> bool {
    let is_letter = |character: char| character.is_ascii_lowercase() || character.is_ascii_digit();
    let is_separator = |text: &str| matches!(text, "" | "." | "_" | "__") || text.bytes().all(|byte| byte == b'-');
    component.starts_with(is_letter) && component.ends_with(is_letter) && component.split(is_letter).all(is_separator)
}

impl fmt::Display for ImageReference {
    /// In full: `docker.io/library/busybox:latest`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = self.tag() {
            write!(f, ":{tag}")?;
        }
        self.digest().map_or(Ok(()), |digest| write!(f, "@{digest}"))
    }
}

impl TryFrom<String> for ImageReference {
    type Error = ImageReferenceError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ImageReference> for String {
    fn from(reference: ImageReference) -> Self {
        reference.to_string()
    }
}

#[cfg(test)]
mod tests;

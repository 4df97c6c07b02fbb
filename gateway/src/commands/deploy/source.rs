//! From what the command line names to an endpoint: a path, an image, or manifests.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use dormouse_spec::{
    Bytes, Container, DefaultName, EndpointName, EndpointRequest, ImageReference,
    manifest::{self, MANIFEST_BYTES_MAX},
};

use crate::commands::CommandError;

/// What is to be deployed, and where it is.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) endpoint: EndpointRequest,
    pub(super) content: Content,
}

#[derive(Debug)]
pub(super) enum Content {
    /// A model's file or directory.
    Model(PathBuf),
    /// The image of the endpoint's container.
    Image(ImageReference),
}

/// A model's path, or an image.
#[derive(Debug, Clone)]
pub(super) enum Named {
    Path(PathBuf),
    Image(ImageReference),
}

impl Named {
    /// What is there is a path; so is what looks like nothing else. What is then no path of a model may be an image.
    pub(super) fn read(text: &str) -> Result<Self, CommandError> {
        let path = Path::new(text);
        let looks_like_a_path = path.is_absolute()
            || path.starts_with(".")
            || path.starts_with("..")
            || path.extension().is_some_and(|extension| extension == "onnx");
        if looks_like_a_path || path.exists() {
            return Ok(Self::Path(path.to_owned()));
        }
        match text.parse() {
            Ok(reference) => Ok(Self::Image(reference)),
            Err(error) => Err(CommandError::NeitherPathNorImage { text: text.to_owned(), source: error }),
        }
    }
}

impl Source {
    pub(super) fn name(&self) -> &str {
        self.endpoint.name.as_str()
    }

    pub(super) fn of_container(container: Container, name: Option<&str>) -> Result<Self, CommandError> {
        let name = match name {
            Some(name) => name.parse().map_err(CommandError::NameGiven)?,
            None => name_of(&container.image)?,
        };
        let content = Content::Image(container.image.clone());
        let endpoint = EndpointRequest { container: Some(Box::new(container)), ..EndpointRequest::named(name) };
        Ok(Self { endpoint, content })
    }
}

/// After the last part of its repository.
fn name_of(image: &ImageReference) -> Result<EndpointName, CommandError> {
    let repository = image.repository();
    let last = repository.rsplit('/').next().unwrap_or(repository);
    EndpointName::from_stem(last).map_err(|source| CommandError::ImageName { image: image.familiar(), source })
}

pub(super) fn of_path(path: &Path, name: Option<&str>) -> Result<Source, CommandError> {
    let endpoint = match name {
        Some(name) => EndpointRequest::named(name.parse().map_err(CommandError::NameGiven)?),
        None => {
            let absolute = std::path::absolute(path)
                .map_err(|source| CommandError::Read { what: path.display().to_string(), source })?;
            let DefaultName { name, alias } = DefaultName::of(&absolute)?;
            EndpointRequest { alias, ..EndpointRequest::named(name) }
        }
    };
    Ok(Source { endpoint, content: Content::Model(path.to_owned()) })
}

pub(super) fn of_manifests(file: &Path) -> Result<Vec<Source>, CommandError> {
    let manifests =
        manifest::parse(&read(file)?).map_err(|source| CommandError::Manifest { file: file.to_owned(), source })?;
    for manifest in &manifests {
        for note in &manifest.notes {
            eprintln!("{}: {note}", manifest.endpoint.name);
        }
    }
    Ok(manifests.into_iter().map(of_manifest).collect())
}

fn of_manifest(manifest: manifest::Manifest) -> Source {
    let content = match manifest.source {
        manifest::Source::Model(uri) => Content::Model(uri.path().to_owned()),
        manifest::Source::Image(image) => Content::Image(image),
    };
    Source { endpoint: manifest.endpoint, content }
}

fn read(file: &Path) -> Result<String, CommandError> {
    let failed = |source| CommandError::Read { what: file.display().to_string(), source };
    let limit = MANIFEST_BYTES_MAX as u64;
    let mut text = String::new();
    let mut limited: Box<dyn Read> = if file == Path::new("-") {
        Box::new(std::io::stdin().take(limit + 1))
    } else {
        Box::new(std::fs::File::open(file).map_err(failed)?.take(limit + 1))
    };
    limited.read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > limit {
        return Err(CommandError::TooLarge { file: file.to_owned(), limit: Bytes::new(limit) });
    }
    Ok(text)
}

use std::path::{Path, PathBuf};

use crate::{Alias, EndpointName, NameError};

/// The file that a model's directory is named after rather than by.
const MODEL_FILE: &str = "model.onnx";
const EXTENSION: &str = "onnx";

/// What an endpoint is called when nobody says: after the path its model was deployed from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefaultName {
    pub name: EndpointName,
    /// The stem as it was written, where that is not the name.
    pub alias: Option<Alias>,
}

/// Why a path gives no name; the caller then asks for one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DefaultNameError {
    #[error("`{}` has no name to call the endpoint by", .0.display())]
    NoStem(PathBuf),
    #[error("`{}` gives no endpoint name", path.display())]
    NotALabel {
        path: PathBuf,
        #[source]
        source: NameError,
    },
}

impl DefaultName {
    /// The name for `path`: an `.onnx` file gives its stem, a directory its name, and `model.onnx`
    /// that of the directory it is in. The path should be absolute, for `.` has no name.
    ///
    /// # Errors
    /// See [`DefaultNameError`].
    pub fn of(path: &Path) -> Result<Self, DefaultNameError> {
        let stem = stem(path).ok_or_else(|| DefaultNameError::NoStem(path.to_owned()))?;
        let name = EndpointName::from_stem(stem)
            .map_err(|source| DefaultNameError::NotALabel { path: path.to_owned(), source })?;
        let alias = if stem == name.as_str() { None } else { stem.parse().ok() };
        Ok(Self { name, alias })
    }
}

fn stem(path: &Path) -> Option<&str> {
    let file = Path::new(path.file_name()?);
    let named_after = if file == Path::new(MODEL_FILE) {
        path.parent()?.file_name()
    } else if file.extension().is_some_and(|extension| extension == EXTENSION) {
        file.file_stem()
    } else {
        Some(file.as_os_str())
    };
    named_after?.to_str()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_path_names_its_endpoint() {
        for (path, name, alias) in [
            ("/models/silero_vad.onnx", "silero-vad", Some("silero_vad")),
            ("/models/squeezenet.onnx", "squeezenet", None),
            ("/models/MiniLM/model.onnx", "minilm", Some("MiniLM")),
            ("/models/resnet50.v1/", "resnet50-v1", Some("resnet50.v1")),
            ("/models/resnet50.v1.onnx", "resnet50-v1", Some("resnet50.v1")),
            ("model-dir", "model-dir", None),
            ("/models.onnx/model.onnx", "models-onnx", Some("models.onnx")),
        ] {
            let default = DefaultName::of(Path::new(path)).unwrap();
            assert_eq!(default.name.as_str(), name, "{path}");
            assert_eq!(default.alias.as_ref().map(Alias::as_str), alias, "{path}");
        }
    }

    #[test]
    fn a_path_without_a_usable_name_is_an_error() {
        for path in ["/", "", "..", "model.onnx", "/model.onnx"] {
            let error = DefaultName::of(Path::new(path)).unwrap_err();
            assert!(matches!(error, DefaultNameError::NoStem(_)), "{path}: {error}");
        }
        for path in ["/models/my model.onnx", "/models/_.onnx", "/models/ä.onnx"] {
            let error = DefaultName::of(Path::new(path)).unwrap_err();
            assert!(matches!(error, DefaultNameError::NotALabel { .. }), "{path}: {error}");
        }
    }
}

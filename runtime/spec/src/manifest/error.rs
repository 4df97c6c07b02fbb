use std::fmt;

use crate::{
    AnnotationError, EndpointName, EnvVarError, FilePathError, ImageReferenceError, MountPathError, NameError,
    PROCESS_BYTES_MAX, QuantityError, VOLUME_BYTES_MAX,
};

use super::{DOCUMENTS_MAX, FileUriError, MANIFEST_BYTES_MAX};

/// A place in the text, both counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    pub line: u64,
    pub column: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// Why a text is no manifest that can be deployed.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error("the manifest has {bytes} bytes, more than {MANIFEST_BYTES_MAX}")]
    TooLarge { bytes: usize },
    /// Not YAML, or YAML beyond the limits: the message has the line and column.
    #[error("the manifest cannot be read: {0}")]
    Yaml(Box<serde_saphyr::Error>),
    #[error("the manifest has more than {DOCUMENTS_MAX} documents")]
    TooManyDocuments,
    #[error("the manifest holds no document")]
    Empty,
    #[error(
        "the manifest holds config maps and secrets only: write them in one file with the endpoints that use them, \
         divided by `---`"
    )]
    OnlyObjects,
    #[error("two documents are named `{name}`")]
    NamedTwice { name: EndpointName },
    /// `path` is the field as `kubectl` writes it: `spec.predictor.model.storageUri`.
    #[error("{at}: {path}: {problem}")]
    Field { at: Position, path: String, problem: Box<Problem> },
}

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// What strict validation of `kubectl apply` refuses too.
    #[error("there is no such field{}", did_you_mean(*.nearest))]
    Unknown { nearest: Option<&'static str> },
    #[error("expected {expected}, found {found}")]
    WrongType { expected: &'static str, found: &'static str },
    /// A real field or value that this runtime cannot honour and that would change the answers.
    #[error("not supported: {0}")]
    Unsupported(String),
    #[error("the text has {bytes} bytes, more than {max}")]
    TooLong { bytes: usize, max: usize },
    #[error("{value} is out of range: {expected}")]
    OutOfRange { value: i64, expected: &'static str },
    #[error("there are {count}, more than {max}")]
    TooMany { count: usize, max: usize },
    /// Variables can name each other, so that few bytes become many.
    #[error("`command`, `args` and `env` have more than {PROCESS_BYTES_MAX} bytes together")]
    ProcessTooLarge,
    #[error("the files of all volumes have more than {VOLUME_BYTES_MAX} bytes together")]
    VolumesTooLarge,
    #[error("no process can be given a text with a NUL")]
    Nul,
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(transparent)]
    Quantity(#[from] QuantityError),
    #[error(transparent)]
    FileUri(#[from] FileUriError),
    #[error(transparent)]
    Image(#[from] ImageReferenceError),
    #[error(transparent)]
    EnvVar(#[from] EnvVarError),
    #[error(transparent)]
    MountPath(#[from] MountPathError),
    #[error(transparent)]
    FilePath(#[from] FilePathError),
    #[error("{source}{}", did_you_mean(*.nearest))]
    Annotation { source: AnnotationError, nearest: Option<&'static str> },
}

fn did_you_mean(nearest: Option<&'static str>) -> String {
    nearest.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}

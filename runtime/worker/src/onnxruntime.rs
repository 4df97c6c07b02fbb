//! ONNX Runtime itself: loading the library and making the one Environment of this process.

use std::path::{Path, PathBuf};

use ort::environment::Environment;

use crate::error::chain;

/// The variable that keeps ONNX Runtime's telemetry from starting. Builds since 1.29 start a thread, a database
/// under the home directory and uploads as soon as the Environment is made; nothing but this variable stops it.
pub(crate) const TELEMETRY_VARIABLE: &str = "ORT_DISABLE_TELEMETRY";

/// The value [`TELEMETRY_VARIABLE`] needs.
pub(crate) const TELEMETRY_OFF: &str = "1";

/// Why ONNX Runtime cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OnnxRuntimeError {
    #[error("{TELEMETRY_VARIABLE} is not {TELEMETRY_OFF}: ONNX Runtime would start its telemetry")]
    Telemetry,
    #[error(
        "ONNX Runtime cannot be loaded from {path}: give the path of libonnxruntime.so, version 1.{oldest} or newer",
        path = path.display(),
        oldest = ort::MINOR_VERSION
    )]
    Library {
        path: PathBuf,
        #[source]
        source: LibraryError,
    },
    #[error("the library path {path} cannot be resolved", path = path.display())]
    Path {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("ONNX Runtime's environment cannot be made")]
    Environment(#[source] ort::Error),
}

/// Why the library is unsuitable. The binding's own error leaves out what the dynamic loader said.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LibraryError {
    #[error("the dynamic loader refuses it: {0}")]
    Loader(String),
    #[error(transparent)]
    Unsuitable(ort::LoadDynamicError),
}

impl From<ort::LoadDynamicError> for LibraryError {
    fn from(error: ort::LoadDynamicError) -> Self {
        match error {
            ort::LoadDynamicError::Dlopen { error, .. } => Self::Loader(chain(&error)),
            unsuitable => Self::Unsuitable(unsuitable),
        }
    }
}

/// Loads the library and makes the process's only Environment.
///
/// # Errors
/// A missing or unsuitable library, or telemetry that is not switched off.
pub(crate) fn environment(library: &Path) -> Result<Environment, OnnxRuntimeError> {
    if !telemetry_is_off() {
        return Err(OnnxRuntimeError::Telemetry);
    }
    // A relative path would be looked for beside the executable.
    let path =
        std::path::absolute(library).map_err(|source| OnnxRuntimeError::Path { path: library.to_owned(), source })?;
    ort::init_from(&path)
        .map_err(|source| OnnxRuntimeError::Library { path, source: source.into() })?
        .with_name("dormouse")
        .with_telemetry(false)
        .build()
        .map_err(OnnxRuntimeError::Environment)
}

/// Whether the environment variable that stops telemetry is set.
pub(crate) fn telemetry_is_off() -> bool {
    std::env::var_os(TELEMETRY_VARIABLE).is_some_and(|value| value == TELEMETRY_OFF)
}

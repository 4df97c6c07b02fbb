//! Where things are in the repository.

use std::path::{Path, PathBuf};

/// The repository's root.
#[must_use]
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the repository").to_owned()
}

/// What set-up fetched.
///
/// # Panics
/// Where it did not.
#[must_use]
pub fn setup(path: &str) -> PathBuf {
    let path = repository().join("target/setup").join(path);
    assert!(path.exists(), "{} is missing: run `make setup-test`", path.display());
    path
}

/// One of the three demo models.
#[must_use]
pub fn model(name: &str) -> PathBuf {
    setup("models").join(name)
}

/// One of tests/fixtures.
#[must_use]
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

#[must_use]
pub fn onnxruntime() -> PathBuf {
    setup("onnxruntime/libonnxruntime.so")
}

/// The Python with tritonclient and ONNX Runtime.
#[must_use]
pub fn python() -> PathBuf {
    setup("venv/bin/python")
}

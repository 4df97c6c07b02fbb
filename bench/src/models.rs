//! The models that are measured with, each with one input and the answer that is right for it.

mod answer;
mod request;

use std::path::{Path, PathBuf};

pub(crate) use answer::Answer;
pub(crate) use request::{Input, Request};

use crate::Failure;

/// One that set-up fetched or built.
#[derive(Debug)]
pub(crate) struct Model {
    /// Of its endpoint, and of its file.
    pub(crate) name: &'static str,
    pub(crate) path: PathBuf,
    pub(crate) request: Request,
}

impl Model {
    /// Speech, file type, text, vision, and one that is all overhead.
    pub(crate) fn all(setup: &Path) -> Result<Vec<Self>, Failure> {
        ["silero_vad", "magika", "minilm", "resnet50", "tiny_mlp"]
            .map(|name| Self::named(setup, name))
            .into_iter()
            .collect()
    }

    pub(crate) fn named(setup: &Path, name: &'static str) -> Result<Self, Failure> {
        let path = setup.join("models").join(format!("{name}.onnx"));
        if !path.is_file() {
            return Err(format!("{} is missing: run `make bench-models`", path.display()).into());
        }
        Ok(Self { name, path, request: Request::of(&inputs(name)) })
    }

    /// Endpoints are DNS labels.
    pub(crate) fn endpoint(&self) -> String {
        self.name.replace('_', "-")
    }

    pub(crate) fn bytes(&self) -> Result<u64, Failure> {
        Ok(std::fs::metadata(&self.path)?.len())
    }
}

/// What each accepts, filled from a seed.
fn inputs(name: &str) -> Vec<Input> {
    match name {
        "silero_vad" => vec![
            Input::noise("input", &[1, 576]),
            Input::noise("state", &[2, 1, 128]),
            Input::integers("sr", "INT64", &[], 16_000..16_001),
        ],
        "magika" => vec![Input::integers("bytes", "INT32", &[1, 2_048], 32..127)],
        "minilm" => vec![
            Input::integers("input_ids", "INT64", &[1, 64], 1_000..30_000),
            Input::integers("attention_mask", "INT64", &[1, 64], 1..2),
        ],
        "resnet50" => vec![Input::noise("image", &[1, 3, 224, 224]).binary()],
        _ => vec![Input::noise("x", &[1, 16])],
    }
}

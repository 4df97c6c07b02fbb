use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// The endpoint whose replica is stopped soon after its last request.
pub(crate) const SLEEPS_SOON: &str = "sleeps-soon";
/// The endpoint whose replica is frozen soon and kept.
pub(crate) const FREEZES_SOON: &str = "freezes-soon";

/// A real model with an input it accepts.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) name: &'static str,
    pub(crate) path: PathBuf,
    pub(crate) request: Vec<u8>,
}

impl Model {
    /// Speech, file type and text: the three that `make run` serves.
    pub(crate) fn all(directory: &Path) -> [Self; 3] {
        let silero = vec![
            tensor("input", "FP32", &[1, 576], 576, json!(0.0)),
            tensor("state", "FP32", &[2, 1, 128], 256, json!(0.0)),
            json!({"name": "sr", "datatype": "INT64", "shape": [], "data": [16000]}),
        ];
        let magika = vec![tensor("bytes", "INT32", &[1, 2048], 2048, json!(65))];
        let minilm = vec![
            tensor("input_ids", "INT64", &[1, 64], 64, json!(2003)),
            tensor("attention_mask", "INT64", &[1, 64], 64, json!(1)),
        ];
        [("silero_vad", silero), ("magika", magika), ("minilm", minilm)].map(|(name, inputs)| Self {
            name,
            path: directory.join(format!("{name}.onnx")),
            request: json!({ "inputs": inputs }).to_string().into_bytes(),
        })
    }
}

fn tensor(name: &str, datatype: &str, shape: &[u64], elements: usize, value: Value) -> Value {
    json!({"name": name, "datatype": datatype, "shape": shape, "data": vec![value; elements]})
}

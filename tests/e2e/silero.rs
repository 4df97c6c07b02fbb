//! A request that the speech model answers, and what it must answer.

use dormouse_tests::{Endpoint, paths};
use serde_json::{Value, json};

/// Samples the model hears at a time: 32 ms, and the 4 ms before.
const WINDOW: usize = 576;

/// Silence.
pub(crate) fn request() -> Value {
    json!({ "inputs": [
        { "name": "input", "datatype": "FP32", "shape": [1, WINDOW], "data": vec![0; WINDOW] },
        { "name": "state", "datatype": "FP32", "shape": [2, 1, 128], "data": vec![0; 256] },
        { "name": "sr", "datatype": "INT64", "shape": [], "data": [16_000] },
    ]})
}

/// Silence is not speech: a probability below one percent, and a state that moved.
#[track_caller]
pub(crate) fn check(answer: &Value) {
    let output = |name: &str| {
        let all = answer["outputs"].as_array().unwrap_or_else(|| panic!("{answer}"));
        all.iter().find(|output| output["name"] == name).unwrap_or_else(|| panic!("no {name}: {answer}"))["data"]
            .clone()
    };
    let probability = output("output")[0].as_f64().unwrap();
    assert!((0.0..0.01).contains(&probability), "{probability}");
    let state = output("stateN");
    assert!(state.as_array().unwrap().iter().any(|value| value.as_f64() != Some(0.0)));
}

pub(crate) fn model() -> std::path::PathBuf {
    paths::model("silero_vad.onnx")
}

#[track_caller]
pub(crate) fn call(endpoint: &Endpoint<'_>) {
    check(&endpoint.infer(&request()).ok().json());
}

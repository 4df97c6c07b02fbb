//! An inference request of the Open Inference Protocol, made once and sent many times.

use std::ops::Range;

use serde_json::{Value, json};

use crate::stats::Random;

const SEED: u64 = 0x5eed;

/// One tensor.
#[derive(Debug)]
pub(crate) struct Input {
    name: &'static str,
    datatype: &'static str,
    shape: Vec<u64>,
    data: Data,
    /// Whether it goes as bytes behind the JSON, as large ones do.
    is_binary: bool,
}

#[derive(Debug)]
enum Data {
    Floats(Vec<f32>),
    Integers(Vec<u64>),
}

/// The body, and how much of it is JSON where tensors follow.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) body: Vec<u8>,
    pub(crate) json_length: Option<usize>,
}

impl Input {
    /// Floats between −1 and 1.
    pub(crate) fn noise(name: &'static str, shape: &[u64]) -> Self {
        let mut random = Random::seeded(SEED);
        let data = (0..elements(shape)).map(|_| (random.unit() * 2.0 - 1.0) as f32).collect();
        Self { name, datatype: "FP32", shape: shape.to_vec(), data: Data::Floats(data), is_binary: false }
    }

    pub(crate) fn integers(name: &'static str, datatype: &'static str, shape: &[u64], range: Range<u64>) -> Self {
        let mut random = Random::seeded(SEED);
        let data = (0..elements(shape)).map(|_| range.start + random.below(range.end - range.start)).collect();
        Self { name, datatype, shape: shape.to_vec(), data: Data::Integers(data), is_binary: false }
    }

    /// Floats only.
    pub(crate) fn binary(self) -> Self {
        Self { is_binary: true, ..self }
    }

    fn bytes(&self) -> Vec<u8> {
        match &self.data {
            Data::Floats(floats) if self.is_binary => floats.iter().flat_map(|float| float.to_le_bytes()).collect(),
            _ => Vec::new(),
        }
    }

    fn json(&self) -> Value {
        let mut tensor = json!({ "name": self.name, "datatype": self.datatype, "shape": self.shape });
        match &self.data {
            _ if self.is_binary => tensor["parameters"] = json!({ "binary_data_size": self.bytes().len() }),
            Data::Floats(floats) => tensor["data"] = json!(floats),
            Data::Integers(integers) => tensor["data"] = json!(integers),
        }
        tensor
    }
}

impl Request {
    pub(crate) fn of(inputs: &[Input]) -> Self {
        let mut body = json!({ "inputs": inputs.iter().map(Input::json).collect::<Vec<_>>() }).to_string().into_bytes();
        let json_length = inputs.iter().any(|input| input.is_binary).then_some(body.len());
        inputs.iter().for_each(|input| body.extend(input.bytes()));
        Self { body, json_length }
    }
}

/// One, where the shape is that of a scalar.
fn elements(shape: &[u64]) -> u64 {
    shape.iter().product()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_request_every_time() {
        let body = || Request::of(&[Input::noise("x", &[2, 2]), Input::integers("n", "INT64", &[], 7..8)]).body;
        assert_eq!(body(), body());
        assert!(String::from_utf8_lossy(&body()).contains(r#""data":[7]"#));
    }

    #[test]
    fn a_binary_tensor_follows_the_json() {
        let request = Request::of(&[Input::noise("x", &[1, 3]).binary()]);
        let length = request.json_length.unwrap_or_default();
        assert_eq!(request.body.len() - length, 12);
        assert!(String::from_utf8_lossy(&request.body[..length]).contains(r#""binary_data_size":12"#));
    }
}

//! A request of zeros for a model. Pure: metadata in, body out.

use serde::Deserialize;
use serde_json::json;

use super::CommandError;

/// How many bytes of a body are JSON; tensors follow, of which each element here is zero bytes.
/// Binary, because half-precision tensors have no form in JSON.
pub(super) const JSON_LENGTH_HEADER: &str = "inference-header-content-length";
/// The daemon's own default limit; a model that wants more wants real input.
const TENSOR_BYTES_MAX: u64 = 64 << 20;

#[derive(Debug, Deserialize)]
pub(super) struct ModelMetadata {
    inputs: Vec<TensorMetadata>,
}

#[derive(Debug, Deserialize)]
struct TensorMetadata {
    name: String,
    datatype: String,
    /// -1 is a dimension that a request chooses.
    shape: Vec<i64>,
}

#[derive(Debug)]
pub(super) struct ZeroRequest {
    pub(super) body: Vec<u8>,
    pub(super) json_bytes: usize,
    /// For people: `x FP32[1,3]`.
    pub(super) shapes: String,
}

/// Every dynamic dimension is 1.
pub(super) fn request(metadata: &ModelMetadata) -> Result<ZeroRequest, CommandError> {
    let mut inputs = Vec::new();
    let mut shapes = Vec::new();
    let mut tensors_bytes = 0_u64;
    for tensor in &metadata.inputs {
        let shape: Vec<u64> = tensor.shape.iter().map(|length| u64::try_from(*length).unwrap_or(1)).collect();
        let bytes = tensor_bytes(tensor, &shape)?;
        tensors_bytes = tensors_bytes.saturating_add(bytes);
        shapes.push(format!("{} {}{shape:?}", tensor.name, tensor.datatype));
        inputs.push(json!({
            "name": tensor.name,
            "datatype": tensor.datatype,
            "shape": shape,
            "parameters": { "binary_data_size": bytes },
        }));
    }
    let zeros = usize::try_from(tensors_bytes).ok().filter(|_| tensors_bytes <= TENSOR_BYTES_MAX);
    let zeros = zeros.ok_or_else(|| CommandError::Zeros(format!("they would be {tensors_bytes} bytes")))?;
    let mut body = json!({ "inputs": inputs }).to_string().into_bytes();
    let json_bytes = body.len();
    body.resize(json_bytes.saturating_add(zeros), 0);
    Ok(ZeroRequest { body, json_bytes, shapes: shapes.join(", ") })
}

fn tensor_bytes(tensor: &TensorMetadata, shape: &[u64]) -> Result<u64, CommandError> {
    let element: u64 = match tensor.datatype.as_str() {
        "BOOL" | "INT8" | "UINT8" => 1,
        "INT16" | "UINT16" | "FP16" | "BF16" => 2,
        // An element of BYTES is its length and then its bytes: four zeros are the empty text.
        "INT32" | "UINT32" | "FP32" | "BYTES" => 4,
        "INT64" | "UINT64" | "FP64" => 8,
        other => return Err(CommandError::Zeros(format!("input `{}` has the datatype {other}", tensor.name))),
    };
    shape
        .iter()
        .try_fold(element, |bytes, length| bytes.checked_mul(*length))
        .ok_or_else(|| CommandError::Zeros(format!("input `{}` has the shape {shape:?}", tensor.name)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn of(inputs: &serde_json::Value) -> Result<ZeroRequest, CommandError> {
        request(&serde_json::from_value(json!({ "name": "m", "inputs": inputs })).unwrap())
    }

    #[test]
    fn dynamic_dimensions_are_one_and_every_datatype_has_its_size() {
        let request = of(&json!([
            { "name": "x", "datatype": "FP32", "shape": [-1, 3] },
            { "name": "half", "datatype": "FP16", "shape": [2] },
            { "name": "text", "datatype": "BYTES", "shape": [-1] },
            { "name": "scalar", "datatype": "INT64", "shape": [] },
        ]))
        .unwrap();
        assert_eq!(request.shapes, "x FP32[1, 3], half FP16[2], text BYTES[1], scalar INT64[]");
        let (json, tensors) = request.body.split_at(request.json_bytes);
        let json: serde_json::Value = serde_json::from_slice(json).unwrap();
        let sizes: Vec<u64> = json["inputs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|input| input["parameters"]["binary_data_size"].as_u64().unwrap())
            .collect();
        assert_eq!(sizes, [12, 4, 4, 8]);
        assert_eq!(tensors, [0; 28]);
    }

    #[test]
    fn shapes_too_large_to_send_are_refused() {
        for shape in [json!([1_i64 << 40]), json!([i64::MAX, i64::MAX])] {
            assert!(of(&json!([{ "name": "x", "datatype": "FP32", "shape": shape }])).is_err());
        }
        assert!(of(&json!([{ "name": "x", "datatype": "COMPLEX", "shape": [1] }])).is_err());
    }
}

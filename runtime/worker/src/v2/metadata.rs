//! The replies that describe the model.

use serde::Serialize;

use super::{Signature, TensorSpec};

/// The V2 name of the model format served here.
pub const PLATFORM: &str = "onnx_onnxv1";

#[derive(Serialize)]
struct Metadata<'a> {
    name: &'a str,
    versions: [&'a str; 1],
    platform: &'static str,
    inputs: Vec<Outline<'a>>,
    outputs: Vec<Outline<'a>>,
}

#[derive(Serialize)]
struct Outline<'a> {
    name: &'a str,
    datatype: &'static str,
    shape: &'a [i64],
}

#[derive(Serialize)]
struct Readiness<'a> {
    name: &'a str,
    ready: bool,
}

/// The body of `GET /v2/models/{model}`.
///
/// # Errors
/// None in practice: the value is plain data.
pub fn metadata_json(name: &str, version: &str, signature: &Signature) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(&Metadata {
        name,
        versions: [version],
        platform: PLATFORM,
        inputs: signature.inputs.iter().map(outline).collect(),
        outputs: signature.outputs.iter().map(outline).collect(),
    })
}

/// The body of `GET /v2/models/{model}/ready`. A worker that answers at all has its model loaded.
///
/// # Errors
/// None in practice: the value is plain data.
pub fn ready_json(name: &str) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(&Readiness { name, ready: true })
}

fn outline(spec: &TensorSpec) -> Outline<'_> {
    Outline { name: &spec.name, datatype: spec.datatype.name(), shape: &spec.dims }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::v2::Datatype;

    #[test]
    fn describes_the_signature() {
        let spec =
            |name: &str, dims: &[i64]| TensorSpec { name: name.into(), datatype: Datatype::Int64, dims: dims.to_vec() };
        let signature = Signature { inputs: vec![spec("sr", &[])], outputs: vec![spec("out", &[-1, 2])] };
        assert_eq!(
            String::from_utf8(metadata_json("m", "3", &signature).unwrap()).unwrap(),
            r#"{"name":"m","versions":["3"],"platform":"onnx_onnxv1","inputs":[{"name":"sr","datatype":"INT64","shape":[]}],"outputs":[{"name":"out","datatype":"INT64","shape":[-1,2]}]}"#
        );
    }
}

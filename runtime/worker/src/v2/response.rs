//! The answer to an inference request.

use super::Tensor;
use super::tensor::JsonDataError;

/// One output, as the model gave it.
#[derive(Debug)]
pub struct OutputTensor<'a> {
    pub name: &'a str,
    pub dims: Vec<i64>,
    pub tensor: Tensor<'a>,
    /// Answer as binary instead of JSON.
    pub binary: bool,
}

/// A response body.
#[derive(Debug, PartialEq, Eq)]
pub struct InferResponse {
    pub body: Vec<u8>,
    /// How many bytes of the body are JSON, if binary tensors follow it.
    pub header_length: Option<usize>,
}

/// An output that the response cannot carry.
#[derive(Debug, thiserror::Error)]
#[error("output '{name}' cannot be answered as JSON")]
pub struct ResponseError {
    name: String,
    #[source]
    source: JsonDataError,
}

impl InferResponse {
    /// Writes the response. Where any output is binary the JSON comes first and the binary tensors follow in the
    /// order listed.
    ///
    /// # Errors
    /// A half-precision output that was not asked for as binary.
    pub fn encode(
        model: &str,
        version: &str,
        id: Option<&str>,
        outputs: &[OutputTensor<'_>],
    ) -> Result<Self, ResponseError> {
        let mut body = Vec::new();
        body.extend_from_slice(br#"{"model_name":"#);
        write_string(model, &mut body);
        body.extend_from_slice(br#","model_version":"#);
        write_string(version, &mut body);
        if let Some(id) = id {
            body.extend_from_slice(br#","id":"#);
            write_string(id, &mut body);
        }
        body.extend_from_slice(br#","outputs":["#);
        for (at, output) in outputs.iter().enumerate() {
            if at > 0 {
                body.push(b',');
            }
            write_output(output, &mut body)?;
        }
        body.extend_from_slice(b"]}");
        let json_length = body.len();
        let mut header_length = None;
        for output in outputs.iter().filter(|output| output.binary) {
            header_length = Some(json_length);
            output.tensor.write_binary(&mut body);
        }
        Ok(Self { body, header_length })
    }
}

fn write_output(output: &OutputTensor<'_>, body: &mut Vec<u8>) -> Result<(), ResponseError> {
    body.extend_from_slice(br#"{"name":"#);
    write_string(output.name, body);
    body.extend_from_slice(format!(r#","datatype":"{}","shape":["#, output.tensor.datatype()).as_bytes());
    for (at, dim) in output.dims.iter().enumerate() {
        let comma = if at > 0 { "," } else { "" };
        body.extend_from_slice(format!("{comma}{dim}").as_bytes());
    }
    body.push(b']');
    if output.binary {
        let parameters = format!(r#","parameters":{{"binary_data_size":{}}}}}"#, output.tensor.binary_size());
        body.extend_from_slice(parameters.as_bytes());
        return Ok(());
    }
    body.extend_from_slice(br#","data":"#);
    output.tensor.write_json(body).map_err(|source| ResponseError { name: output.name.to_owned(), source })?;
    body.push(b'}');
    Ok(())
}

/// Appends a JSON string; serialising one into memory cannot fail.
fn write_string(text: &str, body: &mut Vec<u8>) {
    let written = serde_json::to_writer(body, text);
    debug_assert!(written.is_ok());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::borrow::Cow;

    use half::f16;

    use super::*;

    fn output<'a>(name: &'a str, tensor: Tensor<'static>, binary: bool) -> OutputTensor<'a> {
        OutputTensor { name, dims: vec![1, 2], tensor, binary }
    }

    #[test]
    fn json_is_flat() {
        let outputs = [output("y", Tensor::Fp32(Cow::Owned(vec![0.5, 1.0])), false)];
        let response = InferResponse::encode("m\"", "2", Some("id"), &outputs).unwrap();
        assert_eq!(response.header_length, None);
        assert_eq!(
            str::from_utf8(&response.body).unwrap(),
            r#"{"model_name":"m\"","model_version":"2","id":"id","outputs":[{"name":"y","datatype":"FP32","shape":[1,2],"data":[0.5,1.0]}]}"#
        );
    }

    #[test]
    fn binary_follows_the_json() {
        let outputs = [
            output("a", Tensor::Int16(Cow::Owned(vec![1, -1])), true),
            output("b", Tensor::Uint8(Cow::Owned(vec![3, 4])), false),
            output("c", Tensor::Bytes(Cow::Owned(vec!["x".into(), String::new()])), true),
        ];
        let response = InferResponse::encode("m", "1", None, &outputs).unwrap();
        let (json, binary) = response.body.split_at(response.header_length.unwrap());
        assert_eq!(
            str::from_utf8(json).unwrap(),
            r#"{"model_name":"m","model_version":"1","outputs":[{"name":"a","datatype":"INT16","shape":[1,2],"parameters":{"binary_data_size":4}},{"name":"b","datatype":"UINT8","shape":[1,2],"data":[3,4]},{"name":"c","datatype":"BYTES","shape":[1,2],"parameters":{"binary_data_size":9}}]}"#
        );
        assert_eq!(binary, b"\x01\0\xff\xff\x01\0\0\0x\0\0\0\0");
    }

    #[test]
    fn half_precision_needs_binary() {
        let half = || Tensor::Fp16(Cow::Owned(vec![f16::ONE, f16::ZERO]));
        assert!(InferResponse::encode("m", "1", None, &[output("h", half(), true)]).is_ok());
        let error = InferResponse::encode("m", "1", None, &[output("h", half(), false)]).unwrap_err();
        assert_eq!(error.to_string(), "output 'h' cannot be answered as JSON");
    }
}

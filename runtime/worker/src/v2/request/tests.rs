#![allow(clippy::unwrap_used)]
use std::borrow::Cow;

use proptest::prelude::*;

use super::*;
use crate::error::chain;
use crate::v2::TensorSpec;

fn spec(name: &str, datatype: Datatype, dims: &[i64]) -> TensorSpec {
    TensorSpec { name: name.into(), datatype, dims: dims.to_vec() }
}

fn signature() -> Signature {
    Signature {
        inputs: vec![spec("a", Datatype::Fp32, &[-1, 2]), spec("b", Datatype::Int64, &[])],
        outputs: vec![spec("y", Datatype::Fp32, &[-1]), spec("z", Datatype::Int64, &[1])],
    }
}

const A: &str = r#"{"name":"a","shape":[1,2],"datatype":"FP32","data":[1,2]}"#;
const B: &str = r#"{"name":"b","shape":[],"datatype":"INT64","data":[7]}"#;

fn decode(json: &str) -> Result<InferRequest, RequestError> {
    InferRequest::decode(json.as_bytes(), None, &signature())
}

#[test]
fn inputs_come_in_the_models_order() {
    let request = decode(&format!(r#"{{"id":"i","inputs":[{B},{A}],"unknown":1}}"#)).unwrap();
    assert_eq!(request.id.as_deref(), Some("i"));
    assert_eq!(request.inputs.first().unwrap().tensor, Tensor::Fp32(Cow::Owned(vec![1.0, 2.0])));
    assert_eq!(request.inputs.last().unwrap().tensor, Tensor::Int64(Cow::Owned(vec![7])));
    assert_eq!(request.outputs, every_output(&signature(), false));
}

#[test]
fn half_precision_outputs_must_be_asked_for_as_binary() {
    let signature = Signature { outputs: vec![spec("h", Datatype::Fp16, &[-1])], ..signature() };
    let decode = |extra: &str| {
        let json = format!(r#"{{"inputs":[{A},{B}]{extra}}}"#);
        InferRequest::decode(json.as_bytes(), None, &signature)
    };
    assert!(chain(&decode("").unwrap_err()).contains("output 'h': is FP16, which has no JSON form"));
    assert!(decode(r#","parameters":{"binary_data_output":true}"#).is_ok());
    assert!(decode(r#","outputs":[{"name":"h","parameters":{"binary_data":true}}]"#).is_ok());
}

#[test]
fn binary_output_can_be_overridden_by_output() {
    let json = format!(
        r#"{{"parameters":{{"binary_data_output":true,"priority":3}},"inputs":[{A},{B}],
            "outputs":[{{"name":"z"}},{{"name":"y","parameters":{{"binary_data":false}}}}]}}"#
    );
    let outputs = decode(&json).unwrap().outputs;
    assert_eq!(outputs, [RequestedOutput { index: 1, binary: true }, RequestedOutput { index: 0, binary: false }]);
}

#[test]
fn binary_tensors_follow_in_the_order_listed() {
    let json = r#"{"inputs":[{"name":"b","shape":[],"datatype":"INT64","parameters":{"binary_data_size":8}},
        {"name":"a","shape":[1,2],"datatype":"FP32","parameters":{"binary_data_size":8}}]}"#;
    let body = [json.as_bytes(), &7_i64.to_le_bytes(), &1_f32.to_le_bytes(), &2_f32.to_le_bytes()].concat();
    let request = InferRequest::decode(&body, Some(&json.len().to_string()), &signature()).unwrap();
    assert_eq!(request.inputs.first().unwrap().tensor, Tensor::Fp32(Cow::Owned(vec![1.0, 2.0])));
    assert_eq!(request.inputs.last().unwrap().tensor, Tensor::Int64(Cow::Owned(vec![7])));

    let refused =
        |body: &[u8], length: &str| chain(&InferRequest::decode(body, Some(length), &signature()).unwrap_err());
    let length = json.len().to_string();
    assert!(refused(&body[..body.len() - 1], &length).contains("'a'.parameters.binary_data_size: is 8, but 7"));
    assert!(refused(&[&body, &b"!"[..]].concat(), &length).starts_with("1 bytes of the body belong to no input"));
    assert!(refused(&body, "9999").contains("inference-header-content-length is 9999"));
    assert!(refused(&body, "-1").contains("not a number of bytes"));
    assert!(refused(&body, "10").contains("not a V2 inference request"));
}

#[test]
fn raw_bodies_give_the_free_dimension() {
    let one_input = |dims: &[i64], datatype| Signature {
        inputs: vec![spec("x", datatype, dims)],
        outputs: vec![spec("y", Datatype::Fp32, &[-1])],
    };
    let decode = |body: &[u8], signature: &Signature| InferRequest::decode(body, Some("0"), signature);

    let request = decode(&[0; 24], &one_input(&[-1, 2], Datatype::Fp32)).unwrap();
    assert_eq!(request.inputs.first().unwrap().shape.dims(), [3, 2]);
    assert_eq!(request.outputs, [RequestedOutput { index: 0, binary: true }]);
    let request = decode(b"text", &one_input(&[1], Datatype::Bytes)).unwrap();
    assert_eq!(request.inputs.first().unwrap().tensor, Tensor::Bytes(Cow::Owned(vec!["text".to_owned()])));
    assert!(decode(&[0; 8], &one_input(&[], Datatype::Fp64)).is_ok(), "a scalar");

    for (body, signature) in [
        (&[0_u8; 23][..], one_input(&[-1, 2], Datatype::Fp32)),
        (&[0; 8], one_input(&[-1, -1], Datatype::Fp32)),
        (&[0; 8], one_input(&[1], Datatype::Fp32)),
        (&[0; 8], one_input(&[-1, 0], Datatype::Fp32)),
        (&[0; 8], one_input(&[i64::MAX, i64::MAX], Datatype::Fp32)),
        (&[0; 8], one_input(&[2], Datatype::Bytes)),
        (&[0xff], one_input(&[1], Datatype::Bytes)),
        (&[0; 8], signature()),
    ] {
        assert!(matches!(decode(body, &signature), Err(RequestError::Raw(_))), "{signature:?}");
    }
}

/// Every malformed request, and what its error has to name.
#[test]
fn errors_name_the_field() {
    let input = |text: &str| format!(r#"{{"inputs":[{text},{B}]}}"#);
    let rows = [
        (String::new(), "not a V2 inference request: EOF"),
        ("[]".into(), "not a V2 inference request"),
        ("{".into(), "not a V2 inference request"),
        ("{}".into(), "missing field `inputs`"),
        (r#"{"inputs":3}"#.into(), "expected a sequence"),
        (r#"{"inputs":[3]}"#.into(), "an input: an object"),
        (format!(r#"{{"inputs":[{A},{B}]}}x"#), "trailing characters"),
        (format!(r#"{{"id":3,"inputs":[{A},{B}]}}"#), "id: malformed"),
        (format!(r#"{{"inputs":[{A}]}}"#), "input 'b' is missing; the model takes: a, b"),
        (format!(r#"{{"inputs":[{A},{B},{A}]}}"#), "inputs[2] 'a': given twice"),
        (input(r#"{"shape":[1,2]}"#), "inputs[0].name: missing"),
        (input(r#"{"name":3}"#), "inputs[0].name: malformed"),
        (input(r#"{"name":"c"}"#), "inputs[0] 'c': the model has none of this name; it has: a, b"),
        (input(r#"{"name":"a"}"#), "inputs[0] 'a'.datatype: missing"),
        (input(r#"{"name":"a","datatype":"FLOAT"}"#), "inputs[0] 'a'.datatype: is 'FLOAT'"),
        (input(r#"{"name":"a","datatype":"FP32"}"#), "inputs[0] 'a'.shape: missing"),
        (input(r#"{"name":"a","datatype":"FP32","shape":"1"}"#), "inputs[0] 'a'.shape: malformed"),
        (input(r#"{"name":"a","datatype":"FP32","shape":[1.5]}"#), "inputs[0] 'a'.shape: malformed"),
        (input(r#"{"name":"a","datatype":"FP32","shape":[-1,2]}"#), "inputs[0] 'a'.shape: invalid: dimension 0 is -1"),
        (input(r#"{"name":"a","datatype":"FP32","shape":[9223372036854775807,2]}"#), "'a'.shape: invalid: the number"),
        (input(r#"{"name":"a","datatype":"FP32","shape":[99999999999999999999,2]}"#), "'a'.shape: malformed"),
        (input(r#"{"name":"a","datatype":"FP64","shape":[1,2]}"#), "datatype is FP64, but the model takes FP32"),
        (input(r#"{"name":"a","datatype":"FP32","shape":[1,3]}"#), "shape [1, 3] does not fit [-1, 2]"),
        (input(r#"{"name":"a","datatype":"FP32","shape":[1,2]}"#), "inputs[0] 'a'.data: missing"),
        (input(r#"{"name":"a","datatype":"FP32","shape":[1,2],"data":[1]}"#), "inputs[0] 'a'.data: wrong: 1 elements"),
        (input(r#"{"name":"a","datatype":"FP32","shape":[1,2],"data":{}}"#), "inputs[0] 'a'.data: wrong"),
        (
            input(r#"{"name":"a","datatype":"FP32","shape":[1,2],"data":[NaN,1]}"#),
            "not a V2 inference request: expected",
        ),
        (
            input(r#"{"name":"a","datatype":"FP32","shape":[1,2],"parameters":{"binary_data_size":8}}"#),
            "binary_data_size: needs the inference-header-content-length header",
        ),
        (
            input(r#"{"name":"a","datatype":"FP32","shape":[1,2],"data":[1,2],"parameters":{"binary_data_size":8}}"#),
            "inputs[0] 'a': both data and binary_data_size",
        ),
        (
            input(r#"{"name":"a","datatype":"FP32","shape":[1,2],"parameters":{"binary_data_size":-8}}"#),
            "binary_data_size: is not a number of bytes",
        ),
        (
            input(r#"{"name":"a","datatype":"FP32","shape":[1,2],"parameters":{"shared_memory_region":"r"}}"#),
            "shared_memory_region: is not supported",
        ),
        (format!(r#"{{"inputs":[{A},{B}],"outputs":[{{"name":"q"}}]}}"#), "outputs[0] 'q': the model has none"),
        (format!(r#"{{"inputs":[{A},{B}],"outputs":[{{}}]}}"#), "outputs[0].name: missing"),
        (format!(r#"{{"inputs":[{A},{B}],"outputs":[{{"name":"y"}},{{"name":"y"}}]}}"#), "outputs[1] 'y': given twice"),
        (format!(r#"{{"inputs":[{A},{B}],"parameters":{{"p":[1]}}}}"#), "parameters.p: is not a string, number"),
        (
            format!(r#"{{"inputs":[{A},{B}],"parameters":{{"binary_data_output":1}}}}"#),
            "parameters.binary_data_output: is not true or false",
        ),
    ];
    for (json, expected) in rows {
        let error = chain(&decode(&json).unwrap_err());
        assert!(error.contains(expected), "{json}\n  gave: {error}\n  not:  {expected}");
    }
    assert!(chain(&InferRequest::decode(b"{\"\xff", None, &signature()).unwrap_err()).contains("not UTF-8 at byte 2"));
}

/// Deeper than any stack; one level is two bytes, so the body limit allows millions.
#[test]
fn deep_nesting_is_refused_without_recursion() {
    const DEPTH: usize = 1_000_000;
    let deep = format!("{}{}", "[".repeat(DEPTH), "]".repeat(DEPTH));
    let data = format!(r#"{{"inputs":[{{"name":"a","shape":[1,2],"datatype":"FP32","data":{deep}}},{B}]}}"#);
    assert!(chain(&decode(&data).unwrap_err()).contains("nested deeper"));
    for json in [
        format!(r#"{{"inputs":[{A},{B}],"parameters":{{"p":{deep}}}}}"#),
        format!(r#"{{"inputs":[{A},{B}],"outputs":{deep}}}"#),
        format!(r#"{{"inputs":{deep}}}"#),
        format!(r#"{{"id":{deep},"inputs":[{A},{B}]}}"#),
        deep,
    ] {
        assert!(decode(&json).is_err());
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(body: Vec<u8>, length in prop::option::of(0_usize..64)) {
        let length = length.map(|length| length.to_string());
        let _ = InferRequest::decode(&body, length.as_deref(), &signature());
    }

    #[test]
    fn arbitrary_inputs_never_panic(
        name in "[abc]",
        dims: Vec<i64>,
        datatype in "FP32|INT64|BYTES",
        size: u64,
        tail: Vec<u8>,
    ) {
        let json = format!(
            r#"{{"inputs":[{{"name":"{name}","shape":{dims:?},"datatype":"{datatype}","parameters":{{"binary_data_size":{size}}}}}]}}"#
        );
        let body = [json.as_bytes(), &tail].concat();
        let _ = InferRequest::decode(&body, Some(&json.len().to_string()), &signature());
    }
}

//! Every datatype and every kind of shape, in JSON and in binary.

use serde_json::{Value, json};

use crate::http::Request;
use crate::process::Worker;

/// A datatype, two of its values as JSON, and the same as bytes.
fn samples() -> Vec<(&'static str, Value, Vec<u8>)> {
    fn bytes<const N: usize>(values: [[u8; N]; 2]) -> Vec<u8> {
        values.concat()
    }
    vec![
        ("BOOL", json!([true, false]), vec![1, 0]),
        ("UINT8", json!([0, u8::MAX]), vec![0, 255]),
        ("UINT16", json!([1, u16::MAX]), bytes([1_u16, u16::MAX].map(u16::to_le_bytes))),
        ("UINT32", json!([1, u32::MAX]), bytes([1_u32, u32::MAX].map(u32::to_le_bytes))),
        ("UINT64", json!([1, u64::MAX]), bytes([1_u64, u64::MAX].map(u64::to_le_bytes))),
        ("INT8", json!([i8::MIN, i8::MAX]), bytes([i8::MIN, i8::MAX].map(i8::to_le_bytes))),
        ("INT16", json!([i16::MIN, i16::MAX]), bytes([i16::MIN, i16::MAX].map(i16::to_le_bytes))),
        ("INT32", json!([i32::MIN, i32::MAX]), bytes([i32::MIN, i32::MAX].map(i32::to_le_bytes))),
        ("INT64", json!([i64::MIN, i64::MAX]), bytes([i64::MIN, i64::MAX].map(i64::to_le_bytes))),
        ("FP32", json!([0.1, -1.5]), bytes([0.1_f32, -1.5].map(f32::to_le_bytes))),
        ("FP64", json!([0.1, -1e300]), bytes([0.1_f64, -1e300].map(f64::to_le_bytes))),
    ]
}

#[test]
fn every_datatype_passes_in_json_and_in_binary() {
    let worker = Worker::start("identity.onnx");
    let inputs: Vec<Value> = samples()
        .into_iter()
        .map(|(datatype, data, _)| json!({"name": format!("IN_{datatype}"), "shape": [2], "datatype": datatype, "data": data}))
        .collect();
    let answer = worker.infer(&json!({"id": "42", "inputs": inputs}).to_string()).ok().json();
    assert_eq!(
        (&answer["model_name"], &answer["model_version"], &answer["id"]),
        (&json!("tested"), &json!("7"), &json!("42"))
    );
    for (output, (datatype, data, _)) in answer["outputs"].as_array().unwrap().iter().zip(samples()) {
        assert_eq!(
            *output,
            json!({"name": format!("OUT_{datatype}"), "datatype": datatype, "shape": [2], "data": data})
        );
    }

    let inputs: Vec<Value> = samples()
        .into_iter()
        .map(|(datatype, _, bytes)| {
            json!({"name": format!("IN_{datatype}"), "shape": [2], "datatype": datatype,
                "parameters": {"binary_data_size": bytes.len()}})
        })
        .collect();
    let binary: Vec<u8> = samples().into_iter().flat_map(|(_, _, bytes)| bytes).collect();
    let request = json!({"inputs": inputs, "parameters": {"binary_data_output": true}}).to_string();
    let response = worker.send(Request::infer_binary(&request, &binary)).ok();
    assert_eq!(response.header("content-type"), Some("application/octet-stream"));
    let (_, echoed) = response.parts();
    assert_eq!(echoed, binary);
}

#[test]
fn half_precision_passes_in_binary_only() {
    for (model, datatype) in [("identity_fp16.onnx", "FP16"), ("identity_bf16.onnx", "BF16")] {
        let worker = Worker::start(model);
        let input = |data: &str| {
            format!(
                r#"{{"parameters":{{"binary_data_output":true}},"inputs":[{{"name":"IN_{datatype}","shape":[3],"datatype":"{datatype}",{data}}}]}}"#
            )
        };
        let binary = [0x00, 0x3c, 0x80, 0x3f, 0x01, 0x80];
        let json = input(r#""parameters":{"binary_data_size":6}"#);
        let response = worker.send(Request::infer_binary(&json, &binary)).ok();
        assert_eq!(response.parts().1, binary);
        let error = worker.infer(&input(r#""data":[1,2,3]"#)).error(400);
        assert!(error.contains(&format!("{datatype} has no JSON form")), "{error}");
        let raw = worker.send(Request::infer(&binary).header("inference-header-content-length", "0")).ok();
        assert_eq!(raw.parts().1, binary);
    }
}

#[test]
fn strings_pass_in_json_binary_and_raw() {
    let worker = Worker::start("identity_bytes.onnx");
    let json = r#"{"inputs":[{"name":"IN_BYTES","shape":[3],"datatype":"BYTES","data":["", "h\u00e4\"\n", "x"]}]}"#;
    let answer = worker.infer(json).ok().json();
    assert_eq!(answer["outputs"][0]["data"], json!(["", "hä\"\n", "x"]));

    let empty = r#"{"inputs":[{"name":"IN_BYTES","shape":[0],"datatype":"BYTES","data":[]}]}"#;
    assert_eq!(worker.infer(empty).ok().json()["outputs"][0]["data"], json!([]));

    let binary = b"\x02\0\0\0ab\0\0\0\0";
    let json = r#"{"inputs":[{"name":"IN_BYTES","shape":[2],"datatype":"BYTES","parameters":{"binary_data_size":10}}],
        "outputs":[{"name":"OUT_BYTES","parameters":{"binary_data":true}}]}"#;
    assert_eq!(worker.send(Request::infer_binary(json, binary)).ok().parts().1, binary);

    let raw = worker.send(Request::infer("hät".as_bytes()).header("inference-header-content-length", "0")).ok();
    assert_eq!(raw.parts().1, b"\x04\0\0\0h\xc3\xa4t");
}

#[test]
fn scalars_pass() {
    let worker = Worker::start("scalar.onnx");
    for data in ["2", "[2]", "[2.0]"] {
        let json = format!(
            r#"{{"inputs":[{{"name":"x","shape":[3],"datatype":"FP32","data":[1,2,3]}},
                {{"name":"scale","shape":[],"datatype":"FP32","data":{data}}}]}}"#
        );
        let answer = worker.infer(&json).ok().json();
        assert_eq!(answer["outputs"][0]["data"], json!([2.0, 4.0, 6.0]));
        assert_eq!(answer["outputs"][1], json!({"name": "echo", "datatype": "FP32", "shape": [], "data": [2.0]}));
    }
}

#[test]
fn dynamic_axes_nested_data_and_chosen_outputs() {
    let worker = Worker::start("dynamic.onnx");
    let metadata = worker.send(Request::get("/v2/models/x")).ok().json();
    assert_eq!(
        metadata,
        json!({"name": "tested", "versions": ["7"], "platform": "onnx_onnxv1",
            "inputs": [{"name": "a", "datatype": "FP32", "shape": [-1, -1]}, {"name": "b", "datatype": "FP32", "shape": [-1, -1]}],
            "outputs": [{"name": "sum", "datatype": "FP32", "shape": [-1, -1]}, {"name": "total", "datatype": "FP32", "shape": [-1]}]})
    );
    let infer = |shape: &str, data: &str, outputs: &str| {
        let input = |name| format!(r#"{{"name":"{name}","shape":{shape},"datatype":"FP32","data":{data}}}"#);
        worker.infer(&format!(r#"{{"inputs":[{},{}]{outputs}}}"#, input("b"), input("a"))).ok()
    };
    let nested = infer("[2,3]", "[[1,2,3],[4,5,6]]", "").json();
    assert_eq!(nested, infer("[2,3]", "[1,2,3,4,5,6]", "").json());
    assert_eq!(nested["outputs"][1]["data"], json!([12.0, 30.0]));

    let empty = infer("[0,3]", "[]", "").json();
    assert_eq!(empty["outputs"][0], json!({"name": "sum", "datatype": "FP32", "shape": [0, 3], "data": []}));

    let chosen = r#","parameters":{"binary_data_output":true},
        "outputs":[{"name":"total"},{"name":"sum","parameters":{"binary_data":false}}]"#;
    let response = infer("[1,2]", "[1,2]", chosen);
    let (json, binary) = response.parts();
    assert_eq!(binary, 6_f32.to_le_bytes());
    assert_eq!(json["outputs"][0]["parameters"]["binary_data_size"], json!(4));
    assert_eq!(json["outputs"][1]["data"], json!([2.0, 4.0]));
}

#[test]
fn raw_input_fills_the_free_dimension() {
    let worker = Worker::start("identity_matrix.onnx");
    let binary: Vec<u8> = (0..6_u8).flat_map(|n| f32::from(n).to_le_bytes()).collect();
    let response = worker.send(Request::infer(&binary).header("inference-header-content-length", "0")).ok();
    let (json, echoed) = response.parts();
    assert_eq!(json["outputs"][0]["shape"], json!([3, 2]));
    assert_eq!(echoed, binary);
    let odd = worker.send(Request::infer(&binary[..20]).header("inference-header-content-length", "0"));
    assert!(odd.error(400).contains("20 bytes is no whole number of 8-byte entries"));
}

#[test]
fn what_is_not_finite_is_written_as_clients_read_it() {
    let worker = Worker::start("non_finite.onnx");
    let json = r#"{"inputs":[{"name":"x","shape":[3],"datatype":"FP32","data":[1,-1,0]},
        {"name":"y","shape":[3],"datatype":"FP32","data":[0,0,0]}]}"#;
    let text = worker.infer(json).ok().text();
    assert!(text.contains(r#""data":[Infinity,-Infinity,NaN]"#), "{text}");
}

#[test]
fn external_data_is_found_beside_the_model() {
    let worker = Worker::start("external/model.onnx");
    let json = r#"{"inputs":[{"name":"x","shape":[4],"datatype":"FP32","data":[1,0,0,1]}]}"#;
    assert_eq!(worker.infer(json).ok().json()["outputs"][0]["data"], json!([9.0, 11.0, 13.0]));
}

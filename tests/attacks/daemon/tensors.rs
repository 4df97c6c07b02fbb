//! Tensors that are not what they say. Each goes through the gateway to a real worker.

use dormouse_attacks::{Ground, Outcome};
use dormouse_tests::{Request, paths};
use serde_json::{Value, json};

use crate::target::{each_is_refused, good, home, identity};

/// Levels of JSON: more than any stack has room for.
const LEVELS: usize = 1 << 20;
/// Of a name that no model has.
const NAME_BYTES: usize = 8 << 20;

/// The matrix's input with something else in it.
fn with(change: &Value) -> Value {
    let mut input = json!({ "name": "IN_FP32", "datatype": "FP32", "shape": [1, 2], "data": [1, 2] });
    input.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    if input["parameters"].is_object() {
        input.as_object_mut().unwrap().remove("data");
    }
    input
}

fn json_request(inputs: &Value) -> Request {
    Request::infer("m", &json!({ "inputs": inputs }))
}

/// Refused with 400, all of them.
fn refused(ground: &Ground, bad: Vec<(&'static str, Request)>) -> Outcome {
    let daemon = home(ground).start();
    let endpoint = identity(&daemon);
    let bad: Vec<_> = bad.into_iter().map(|(what, request)| (what, request, 400)).collect();
    each_is_refused(&endpoint, &good(&endpoint), &bad)
}

pub(crate) fn shapes(ground: &Ground) -> Outcome {
    let bad = |shape: Value, data: Value| json_request(&json!([with(&json!({ "shape": shape, "data": data }))]));
    refused(
        ground,
        vec![
            ("elements that overflow to none", bad(json!([1_u64 << 63, 2]), json!([]))),
            ("bytes that overflow", bad(json!([i64::MAX, 2]), json!([1, 2]))),
            ("a negative dimension", bad(json!([-1, 2]), json!([1, 2]))),
            ("the least dimension", bad(json!([i64::MIN, 2]), json!([]))),
            ("a huge shape with little in it", bad(json!([1_u64 << 40, 2]), json!([1, 2]))),
            ("a thousand dimensions", bad(json!(vec![1; 1000]), json!([1]))),
        ],
    )
}

pub(crate) fn sizes(ground: &Ground) -> Outcome {
    let daemon = home(ground).start();
    let endpoint = identity(&daemon);
    daemon.deploy("bytes", &paths::fixture("identity_bytes.onnx"));
    let sized = |size: Value, tensor: &[u8]| {
        let input = with(&json!({ "parameters": { "binary_data_size": size } }));
        Request::infer_binary("m", &json!({ "inputs": [input] }), tensor)
    };
    let text = |length: u32| {
        let bytes = [&length.to_le_bytes()[..], b"text"].concat();
        let size = json!({ "binary_data_size": bytes.len() });
        let input = json!({ "name": "IN_BYTES", "datatype": "BYTES", "shape": [1], "parameters": size });
        Request::infer_binary("bytes", &json!({ "inputs": [input] }), &bytes)
    };
    let bad = [
        ("a size that is too small", sized(json!(4), &[0; 8]), 400),
        ("one beyond the body", sized(json!(800), &[0; 8]), 400),
        ("one beyond all bounds", sized(json!(u64::MAX), &[0; 8]), 400),
        ("a negative one", sized(json!(-8), &[0; 8]), 400),
        ("bytes that nobody declared", sized(json!(8), &[0; 16]), 400),
        ("text longer than its bytes", text(u32::MAX), 400),
        ("text shorter than its bytes", text(1), 400),
        ("JSON longer than the body", good(&endpoint).header("inference-header-content-length", "100000"), 400),
    ];
    each_is_refused(&endpoint, &good(&endpoint), &bad)
}

pub(crate) fn numbers(ground: &Ground) -> Outcome {
    let raw = |data: &str| {
        let inputs = format!(r#"{{"name":"IN_FP32","datatype":"FP32","shape":[1,2],"data":{data}}}"#);
        Request::post("/v2/models/m/infer", format!(r#"{{"inputs":[{inputs}]}}"#))
    };
    refused(
        ground,
        vec![
            ("one beyond the type", raw("[1e400, 1]")),
            ("not a number", raw("[NaN, 1]")),
            ("infinity", raw("[Infinity, 1]")),
            ("text", raw(r#"["1", 1]"#)),
            ("nothing", raw("[null, 1]")),
            ("an object", raw("[{}, 1]")),
        ],
    )
}

pub(crate) fn twice(ground: &Ground) -> Outcome {
    let other = with(&json!({ "data": [3, 4] }));
    refused(ground, vec![("two values of one input", json_request(&json!([with(&json!({})), other])))])
}

pub(crate) fn deep(ground: &Ground) -> Outcome {
    let nested = |begin: &str| format!("{begin}{}{}", "[".repeat(LEVELS), "]".repeat(LEVELS));
    let post = |body: String| Request::post("/v2/models/m/infer", body);
    refused(
        ground,
        vec![
            ("the whole body", post(nested(""))),
            (
                "the data of an input",
                post(format!(
                    r#"{{"inputs":[{{"name":"IN_FP32","datatype":"FP32","shape":[1,2],{}}}]}}"#,
                    nested("\"data\":")
                )),
            ),
            ("parameters", post(format!("{{{},\"inputs\":[]}}", nested("\"parameters\":")))),
            ("a field that nobody knows", post(format!("{{{},\"inputs\":[]}}", nested("\"x\":")))),
        ],
    )
}

pub(crate) fn long_names(ground: &Ground) -> Outcome {
    let long = "n".repeat(NAME_BYTES);
    refused(
        ground,
        vec![
            ("a name", json_request(&json!([with(&json!({ "name": long }))]))),
            ("a datatype", json_request(&json!([with(&json!({ "datatype": long }))]))),
            ("a shape", json_request(&json!([with(&json!({ "shape": long }))]))),
            ("an output", Request::infer("m", &json!({ "inputs": [with(&json!({}))], "outputs": [{ "name": long }] }))),
        ],
    )
}

//! Requests that are wrong in themselves, put to the real worker.

use std::io::Write;

use dormouse_tests::Request;
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};

use super::{Answer, BODY_BYTES_MAX, Bench, Expected::Status, Row};

/// An input as the model wants it.
pub(super) fn good(name: &str) -> Value {
    json!({ "name": name, "datatype": "FP32", "shape": [1, 2], "data": [1, 2] })
}

/// The model's inputs, the first of them with something else in it.
fn with(bench: &Bench, change: &Value) -> Answer {
    let mut first = good("a");
    first.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    inputs(bench, &[first, good("b")])
}

fn inputs(bench: &Bench, inputs: &[Value]) -> Answer {
    bench.real.send(&Request::infer("dynamic", &json!({ "inputs": inputs }))).into()
}

fn body(bench: &Bench, body: impl Into<Vec<u8>>) -> Answer {
    bench.real.send(&Request::post("/v2/models/dynamic/infer", body)).into()
}

/// A binary tensor of 8 bytes that says it has `size`.
fn binary(bench: &Bench, size: u64) -> Answer {
    let first = json!({ "name": "a", "datatype": "FP32", "shape": [1, 2], "parameters": { "binary_data_size": size } });
    let json = json!({ "inputs": [first, good("b")] });
    bench.real.send(&Request::infer_binary("dynamic", &json, &[0; 8])).into()
}

/// Good JSON under a header that says how long it is.
fn head_length(bench: &Bench, length: &str) -> Answer {
    let json = json!({ "inputs": [good("a"), good("b")] }).to_string();
    let request = Request::post("/v2/models/dynamic/infer", json).header("inference-header-content-length", length);
    bench.real.send(&request).into()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn encoded(bench: &Bench, coding: &str, body: Vec<u8>) -> Answer {
    bench.real.send(&Request::post("/v2/models/dynamic/infer", body).header("content-encoding", coding)).into()
}

fn ask(bench: &Bench, request: &Request) -> Answer {
    bench.real.send(request).into()
}

fn chunked(bytes: usize) -> Vec<u8> {
    [format!("{bytes:x}\r\n").as_bytes(), &vec![b' '; bytes], b"\r\n0\r\n\r\n"].concat()
}

const fn row(wrong: &'static str, status: u16, says: &'static [&'static str], ask: fn(&Bench) -> Answer) -> Row {
    Row { wrong, ask, expected: Status(status), says }
}

pub(super) const ROWS: &[Row] = &[
    row("wrong input name", 400, &["'c'"], |it| with(it, &json!({ "name": "c" }))),
    row("input name as long as the body", 400, &["nnnn", "the model has none"], |it| {
        with(it, &json!({ "name": "n".repeat(BODY_BYTES_MAX / 2) }))
    }),
    row("missing input", 400, &["'b'", "missing"], |it| inputs(it, &[good("a")])),
    row("extra input", 400, &["'c'"], |it| inputs(it, &[good("a"), good("b"), good("c")])),
    row("input named twice", 400, &["'a'"], |it| inputs(it, &[good("a"), good("a")])),
    row("wrong rank", 400, &["'a'", "shape [2]"], |it| with(it, &json!({ "shape": [2] }))),
    row("negative dimension", 400, &["shape"], |it| with(it, &json!({ "shape": [-1, 2] }))),
    row("wrong datatype", 400, &["'a'", "datatype", "FP64"], |it| with(it, &json!({ "datatype": "FP64" }))),
    row("unknown datatype", 400, &["datatype", "FP7"], |it| with(it, &json!({ "datatype": "FP7" }))),
    row("too few elements", 400, &["'a'", "element"], |it| with(it, &json!({ "data": [1] }))),
    row("too many elements", 400, &["'a'", "element"], |it| with(it, &json!({ "data": [1, 2, 3] }))),
    row("element of another type", 400, &["'a'", "element 1"], |it| with(it, &json!({ "data": [1, "2"] }))),
    row("overflowing shape", 400, &["overflows"], |it| with(it, &json!({ "shape": [1_u64 << 32, 1_u64 << 32] }))),
    row("shapes that do not go together", 500, &["the model failed"], |it| {
        with(it, &json!({ "shape": [1, 3], "data": [1, 2, 3] }))
    }),
    row("unknown output", 400, &["'none'"], |it| {
        let body = json!({ "inputs": [good("a"), good("b")], "outputs": [{ "name": "none" }] });
        ask(it, &Request::infer("dynamic", &body))
    }),
    row("half precision in JSON", 400, &["FP16", "JSON"], |it| {
        let input = json!({ "name": "IN_FP16", "datatype": "FP16", "shape": [1], "data": [1] });
        ask(it, &Request::infer("half", &json!({ "inputs": [input] })))
    }),
    row("binary_data_size too small", 400, &["'a'", "binary_data_size"], |it| binary(it, 4)),
    row("binary_data_size beyond the body", 400, &["binary_data_size"], |it| binary(it, 800)),
    row("binary_data_size beyond all bounds", 400, &["binary_data_size"], |it| binary(it, u64::MAX)),
    row("header length beyond the body", 400, &["nference-"], |it| head_length(it, "100000")),
    row("header length that is none", 400, &["nference-"], |it| head_length(it, "ten")),
    row("header length within the JSON", 400, &["line 1"], |it| head_length(it, "10")),
    row("broken BYTES", 400, &["IN_BYTES"], |it| {
        let input =
            json!({ "name": "IN_BYTES", "datatype": "BYTES", "shape": [1], "parameters": { "binary_data_size": 5 } });
        ask(it, &Request::infer_binary("bytes", &json!({ "inputs": [input] }), b"\xff\0\0\0a"))
    }),
    row("JSON cut off", 400, &["line 1"], |it| body(it, "{\"inputs\":[")),
    row("JSON of another kind", 400, &["line 1"], |it| body(it, "[]")),
    row("no inputs", 400, &["inputs"], |it| body(it, "{}")),
    row("empty body", 400, &[], |it| body(it, "")),
    row("invalid UTF-8", 400, &["UTF-8"], |it| body(it, b"{\"id\":\"\xff\",\"inputs\":[]}".as_slice())),
    row("body over the limit", 413, &["64Ki"], |it| body(it, vec![b' '; BODY_BYTES_MAX + 1])),
    row("body over the limit, undeclared", 413, &["64Ki"], |it| {
        let request = Request::new("POST", "/v2/models/dynamic/infer").header("transfer-encoding", "chunked");
        ask(it, &request.bare_body(chunked(BODY_BYTES_MAX + 1)))
    }),
    row("body that inflates over the limit", 413, &["inflated"], |it| {
        encoded(it, "gzip", gzip(&vec![b' '; 100 * BODY_BYTES_MAX]))
    }),
    row("corrupt gzip", 400, &["gzip"], |it| encoded(it, "gzip", b"not gzip".to_vec())),
    row("unknown encoding", 415, &["'br'"], |it| encoded(it, "br", b"x".to_vec())),
    row("unknown model", 404, &["`nobody`"], |it| ask(it, &Request::infer("nobody", &json!({})))),
    row("unknown model, metadata", 404, &["`nobody`"], |it| ask(it, &Request::get("/v2/models/nobody"))),
    row("unknown version", 404, &["`9`", "`dynamic`"], |it| {
        ask(it, &Request::post("/v2/models/dynamic/versions/9/infer", "{}"))
    }),
    row("a name that no endpoint can have", 404, &["%2e%2e"], |it| ask(it, &Request::get("/v2/models/%2e%2e"))),
    row("head over the limit", 431, &[], |it| ask(it, &Request::get("/v2").header("x", &"y".repeat(200 << 10)))),
];

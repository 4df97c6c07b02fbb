//! The Open Inference Protocol V2 on the wire: every path, both versions of HTTP, encodings.

use std::io::{Read, Write};

use dormouse_tests::{
    Connection, Daemon, Endpoint, Request, Script, endpoint::echo_body, http2, paths, script::Infer, wait::until_true,
};
use flate2::{
    Compression,
    read::{GzDecoder, ZlibDecoder},
    write::{GzEncoder, ZlibEncoder},
};
use serde_json::{Value, json};

use crate::{fake, real};

fn floats(rows: &[f32]) -> Vec<u8> {
    rows.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[test]
fn what_is_asked_about_models_is_answered_and_wakes_nothing() {
    let daemon = real().start();
    let fixture = paths::fixture("identity_matrix.onnx");
    let _ = daemon.cli(&["deploy", fixture.to_str().unwrap()]).ok();
    let get = |path: &str| daemon.get(path).ok().json();

    assert_eq!(get("/v2")["name"], "dormouse");
    assert_eq!(get("/v2")["extensions"], json!(["binary_tensor_data"]));
    assert!(get("/v2")["version"].is_string());
    assert_eq!(get("/v2/health/live"), json!({ "live": true }));
    assert_eq!(get("/v2/health/ready")["ready"], true);
    assert_eq!(get("/v2/models"), json!({ "models": ["identity-matrix"] }));
    let metadata = json!({
        "name": "identity-matrix", "versions": ["1"], "platform": "onnx_onnxv1",
        "inputs": [{ "name": "IN_FP32", "datatype": "FP32", "shape": [-1, 2] }],
        "outputs": [{ "name": "OUT_FP32", "datatype": "FP32", "shape": [-1, 2] }],
    });
    for path in ["/v2/models/identity-matrix", "/v2/models/identity_matrix", "/v2/models/identity-matrix/versions/1"] {
        assert_eq!(get(path), metadata, "{path}");
        assert_eq!(get(&format!("{path}/ready")), json!({ "name": "identity-matrix", "ready": true }), "{path}");
    }
    let listed = json!([{ "name": "identity-matrix", "version": "1", "state": "READY", "reason": "" }]);
    for body in ["", "{}", r#"{"ready":true}"#] {
        assert_eq!(daemon.send(&Request::post("/v2/repository/index", body)).ok().json(), listed, "{body}");
    }
    assert!(daemon.send(&Request::post("/v2/repository/index", "[")).error(400).contains("JSON"));

    let endpoint = Endpoint::of(&daemon, "identity-matrix");
    endpoint.until_phases(&[]);
    until_true("the replica that described the model is gone", || endpoint.processes_and_makers().is_empty());
    assert_eq!(daemon.metrics().of_endpoint("dormouse_starts_total", "identity-matrix"), 0.0);
}

#[test]
fn what_is_not_served_says_so() {
    let daemon = fake().start();
    daemon.deploy_fake("m", Script::echo(), &[]);
    for (method, path) in [
        ("POST", "/v2/repository/models/m/load"),
        ("POST", "/v2/repository/models/m/unload"),
        ("GET", "/v2/models/m/config"),
        ("GET", "/v2/models/m/versions/1/config"),
        ("GET", "/v2/models/m/stats"),
        ("GET", "/v2/models/stats"),
        ("POST", "/v2/models/m/generate"),
        ("POST", "/v2/models/m/generate_stream"),
    ] {
        let answer = daemon.send(&Request::new(method, path));
        assert!(answer.error(501).contains("not served"), "{path}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
    }
    for path in ["/", "/v1/models", "/v2/nothing", "/v2/models/m/nothing", "/v2/models/m/versions"] {
        let _ = daemon.get(path).error(404);
    }
    for (method, path, allowed) in [
        ("GET", "/v2/models/m/infer", "POST"),
        ("POST", "/v2/models/m", "GET, HEAD"),
        ("DELETE", "/v2/models/m", "GET, HEAD"),
        ("GET", "/v2/repository/index", "POST"),
        ("POST", "/metrics", "GET, HEAD"),
    ] {
        let answer = daemon.send(&Request::new(method, path));
        let _ = answer.error(405);
        assert_eq!(answer.header("allow"), Some(allowed), "{method} {path}");
    }
}

#[test]
fn json_and_binary_tensors_in_every_mix() {
    let daemon = real().start();
    let endpoint = daemon.deploy("m", &paths::fixture("identity_matrix.onnx"));
    let input = |rest: Value| {
        let mut input = json!({ "name": "IN_FP32", "datatype": "FP32", "shape": [2, 2] });
        input.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        input
    };
    let data = json!([1.0, 2.0, 3.0, 4.0]);
    for written in [json!([1, 2, 3, 4]), json!([[1, 2], [3, 4]])] {
        let answer = endpoint.infer(&json!({ "id": "7", "inputs": [input(json!({ "data": written }))] })).ok().json();
        assert_eq!(
            answer,
            json!({ "model_name": "m", "model_version": "1", "id": "7",
                "outputs": [{ "name": "OUT_FP32", "datatype": "FP32", "shape": [2, 2], "data": data }] })
        );
    }
    let tensor = floats(&[1.0, 2.0, 3.0, 4.0]);
    let binary = json!({ "inputs": [input(json!({ "parameters": { "binary_data_size": 16 } }))] });
    assert_eq!(daemon.send(&Request::infer_binary("m", &binary, &tensor)).ok().json()["outputs"][0]["data"], data);

    let mut all = binary.clone();
    all["parameters"] = json!({ "binary_data_output": true });
    let mut one = binary;
    one["outputs"] = json!([{ "name": "OUT_FP32", "parameters": { "binary_data": true } }]);
    for wanted in [all, one] {
        let answer = daemon.send(&Request::infer_binary("m", &wanted, &tensor)).ok();
        check_binary(&answer, &tensor);
    }
    let raw = Request::post(&endpoint.path("/infer"), tensor.clone()).header("inference-header-content-length", "0");
    check_binary(&daemon.send(&raw).ok(), &tensor);
    let versioned = Request::post("/v2/models/m/versions/1/infer", tensor.clone());
    check_binary(&daemon.send(&versioned.header("inference-header-content-length", "0")).ok(), &tensor);
}

#[track_caller]
fn check_binary(answer: &dormouse_tests::Response, tensor: &[u8]) {
    let length: usize = answer.header("inference-header-content-length").expect("a length").parse().unwrap();
    let (head, tensors) = answer.body.split_at(length);
    let head: Value = serde_json::from_slice(head).unwrap();
    assert_eq!(head["outputs"][0]["parameters"]["binary_data_size"], 16, "{head}");
    assert!(head["outputs"][0].get("data").is_none());
    assert_eq!(tensors, tensor);
    assert_eq!(answer.header("content-type"), Some("application/octet-stream"));
}

#[test]
fn bodies_may_be_compressed_both_ways() {
    let daemon = real().start();
    let endpoint = daemon.deploy("m", &paths::fixture("identity_matrix.onnx"));
    let body = json!({ "inputs": [{ "name": "IN_FP32", "datatype": "FP32", "shape": [1, 2], "data": [1, 2] }] });
    let plain = endpoint.infer(&body).ok().body;
    let text = body.to_string();
    let (mut gzip, mut deflate) =
        (GzEncoder::new(Vec::new(), Compression::best()), ZlibEncoder::new(Vec::new(), Compression::best()));
    gzip.write_all(text.as_bytes()).unwrap();
    deflate.write_all(text.as_bytes()).unwrap();
    for (coding, compressed) in [("gzip", gzip.finish().unwrap()), ("deflate", deflate.finish().unwrap())] {
        let request = Request::post(&endpoint.path("/infer"), compressed)
            .header("content-encoding", coding)
            .header("accept-encoding", coding);
        let answer = daemon.send(&request).ok();
        assert_eq!(answer.header("content-encoding"), Some(coding));
        let mut inflated = Vec::new();
        match coding {
            "gzip" => GzDecoder::new(&*answer.body).read_to_end(&mut inflated).unwrap(),
            _ => ZlibDecoder::new(&*answer.body).read_to_end(&mut inflated).unwrap(),
        };
        assert_eq!(inflated, plain);
    }
}

#[test]
fn a_connection_serves_request_after_request() {
    let daemon = fake().start();
    let endpoint = daemon.deploy_fake("m", Script::echo(), &[]);
    let mut connection = Connection::to(daemon.address());
    for data in 0..10 {
        let answer = connection.send(&endpoint.echo_request(data)).ok().json();
        assert_eq!(answer["outputs"][0]["data"], json!([data]));
        assert_eq!(connection.send(&Request::get("/healthz")).ok().text(), "ok\n");
        // A refusal does not end the connection.
        let _ = connection.send(&Request::infer("nobody", &json!({}))).error(404);
    }
    // Two at once, answered in order.
    let two = [endpoint.echo_request(1).bytes(), endpoint.echo_request(2).bytes()].concat();
    connection.write(&two).unwrap();
    for data in [1, 2] {
        assert_eq!(connection.receive().unwrap().ok().json()["outputs"][0]["data"], json!([data]));
    }
}

#[test]
fn http2_by_prior_knowledge_shares_the_port() {
    let daemon = fake().endpoint("container_concurrency", "2").start();
    let endpoint = daemon.deploy_fake("m", Script::echo(), &[]);
    let mut asks: Vec<http2::Ask> =
        (0..20).map(|data| ("POST", endpoint.path("/infer"), echo_body(data).to_string().into_bytes())).collect();
    asks.push(("GET", "/v2/health/ready".to_owned(), Vec::new()));
    asks.push(("POST", "/v2/models/nobody/infer".to_owned(), Vec::new()));
    let mut answers = http2::exchange(daemon.address(), asks);
    assert_eq!(answers.pop().unwrap().0, 404);
    assert_eq!(answers.pop().unwrap().0, 200);
    for (data, (status, body)) in answers.into_iter().enumerate() {
        assert_eq!(status, 200);
        assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["outputs"][0]["data"], json!([data]));
    }
}

#[test]
fn every_answer_carries_an_id() {
    let daemon = fake().start();
    let endpoint = daemon.deploy_fake("m", Script::echo(), &[]);
    let id = |request: &Request| daemon.send(request).header("x-request-id").expect("an id").to_owned();
    let sent = |request: Request| request.header("x-request-id", "mine-42");
    assert_eq!(id(&sent(endpoint.echo_request(1))), "mine-42");
    assert_eq!(id(&sent(Request::get("/v2/models/nobody"))), "mine-42");
    let (one, other) = (id(&endpoint.echo_request(1)), id(&endpoint.echo_request(1)));
    assert!(!one.is_empty() && one != other);
}

#[test]
fn metrics_count_and_forget() {
    let daemon = fake().start();
    let kept = daemon.deploy_fake("kept", Script::echo(), &[]);
    let deleted = daemon.deploy_fake("deleted", Script::echo(), &[]);
    for endpoint in [&kept, &deleted] {
        endpoint.check_echo(1);
    }
    let _ = daemon.send(&Request::infer("what-a-client-typed", &json!({}))).error(404);
    let answer = daemon.get("/metrics").ok();
    assert!(answer.header("content-type").is_some_and(|it| it.starts_with("text/plain; version=0.0.4")), "{answer:?}");
    let metrics = daemon.metrics();
    for endpoint in ["kept", "deleted"] {
        assert_eq!(metrics.of_endpoint("dormouse_requests_total", endpoint), 1.0);
        assert_eq!(metrics.of_endpoint("dormouse_request_duration_seconds_count", endpoint), 1.0);
        assert_eq!(metrics.of_endpoint("dormouse_queue_waiters", endpoint), 0.0);
        assert_eq!(metrics.of_endpoint("dormouse_replicas", endpoint), 1.0);
        assert_eq!(metrics.of_endpoint("dormouse_starts_total", endpoint), 1.0);
    }
    assert!(metrics.sum("dormouse_wake_phase_seconds_count", &[]) > 0.0);
    assert!(!metrics.text().contains("what-a-client-typed"), "a client's words are no labels");
    deleted.delete();
    let after = daemon.metrics();
    assert!(!after.text().contains("\"deleted\""), "{}", after.text());
    assert!(after.text().contains("\"kept\""));
}

#[test]
fn bodies_stream_through_to_the_limit() {
    let daemon = fake().set("gateway", "body_bytes_max", "\"1Mi\"").start();
    let endpoint = daemon.deploy_fake("m", Script::echo(), &[]);
    let body = echo_body(3).to_string();
    let padded = format!("{body}{}", " ".repeat((1 << 20) - body.len()));
    let answer = daemon.send(&Request::post(&endpoint.path("/infer"), padded)).ok().json();
    assert_eq!(answer["outputs"][0]["data"], json!([3]));
    // In pieces of no declared sum.
    let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let request = Request::new("POST", &endpoint.path("/infer")).header("transfer-encoding", "chunked");
    assert_eq!(daemon.send(&request.bare_body(chunked)).ok().json()["outputs"][0]["data"], json!([3]));
    let expecting = endpoint.echo_request(4).header("expect", "100-continue");
    assert_eq!(daemon.send(&expecting).ok().json()["outputs"][0]["data"], json!([4]));
}

#[test]
fn nobody_waits_for_a_client_who_left() {
    let daemon = fake().endpoint("max_replicas", "1").endpoint("container_concurrency", "1").start();
    let endpoint = daemon.deploy_fake("m", Script::echo().infer(Infer::Hold), &[]);
    let running = left(&daemon, &endpoint);
    endpoint.until_leases(1);
    let waiting = left(&daemon, &endpoint);
    endpoint.until_waiters(1);
    drop((running, waiting));
    endpoint.until_waiters(0);
    endpoint.until_leases(0);
    endpoint.play(Script::echo());
    endpoint.check_echo(1);
}

/// A request that somebody sent and whose connection is at hand to be dropped.
fn left(daemon: &Daemon, endpoint: &Endpoint<'_>) -> Connection<std::net::TcpStream> {
    let mut connection = Connection::to(daemon.address());
    connection.write(&endpoint.echo_request(1).bytes()).unwrap();
    connection
}

//! The whole node process, in this one, between a client and a spawner that only pretends.
//!
//! Needs root: a node speaks to no other spawner.
#![allow(clippy::unwrap_used)]

#[path = "node/harness.rs"]
mod harness;
#[path = "node/spawner.rs"]
mod spawner;

use std::time::Duration;

use dormouse_controller::TemplateUse;
use dormouse_gateway::{
    admin::{ClientError, api::Condition},
    node::NodeError,
};
use dormouse_spec::EndpointRequest;
use harness::{Node, PATIENCE};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_needs_no_model_is_answered_over_http_1_and_2() {
    let node = Node::start().await;
    let server = node.get("/v2").await;
    assert!(
        server.starts_with("HTTP/1.1 200 ") && server.contains(r#""extensions":["binary_tensor_data"]"#),
        "{server}"
    );
    assert!(node.get("/healthz").await.ends_with("ok\n"));
    assert!(node.get("/v2/health/ready").await.ends_with(r#"{"live":true,"ready":true}"#));
    assert!(node.get("/v2/models").await.ends_with(r#"{"models":[]}"#));
    let unknown = node.get("/v2/models/nobody").await;
    assert!(unknown.starts_with("HTTP/1.1 404 ") && unknown.contains(r#"{"error":"#), "{unknown}");
    let method = node.request("DELETE", "/v2", "", "").await;
    assert!(method.starts_with("HTTP/1.1 405 ") && method.contains("allow: GET, HEAD\r\n"), "{method}");
    assert!(node.request("POST", "/v2/repository/models/m/load", "", "").await.starts_with("HTTP/1.1 501 "));
    assert!(node.request("POST", "/v2/repository/index", "", "{").await.starts_with("HTTP/1.1 400 "));
    assert!(node.request("GET", "/v2", "x-request-id: mine-1\r\n", "").await.contains("x-request-id: mine-1\r\n"));
    let head = node.request("HEAD", "/v2/health/live", "", "").await;
    assert!(head.contains("content-length: 13\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    assert_eq!(node.get_http2("/v2/health/live").await, r#"{"live":true}"#);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_is_too_large_or_too_slow_ends_its_connection() {
    let node = Node::start().await;
    let large = format!("x-large: {}\r\n", "a".repeat(64 << 10));
    assert!(node.request("GET", "/v2", &large, "").await.starts_with("HTTP/1.1 431 "));
    for begun in ["", "P", "PRI * HTTP/2.0\r\n", "GET /v2 HTTP/1.1\r\nhost: a\r\nx-slow:"] {
        let mut client = node.connect().await;
        client.write_all(begun.as_bytes()).await.unwrap();
        let mut answered = Vec::new();
        timeout(PATIENCE, client.read_to_end(&mut answered)).await.unwrap().unwrap();
        assert!(!answered.starts_with(b"HTTP/1.1 200"), "{begun:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_is_deployed_called_and_deleted() {
    let node = Node::start().await;
    let deployed = node.deploy("silero-vad", Some("silero_vad")).await.unwrap();
    assert!(deployed.ends_with("/v2/models/silero-vad"), "{deployed}");

    let probes = node.spawner.created();
    let metadata = node.get("/v2/models/silero_vad").await;
    assert!(metadata.contains(r#""name":"silero-vad""#) && metadata.contains(r#""versions":["1"]"#), "{metadata}");
    assert!(
        node.get("/v2/models/silero-vad/versions/1/ready").await.ends_with(r#"{"name":"silero-vad","ready":true}"#)
    );
    let index = node.request("POST", "/v2/repository/index", "", r#"{"ready":true}"#).await;
    assert!(index.contains(r#""state":"READY""#), "{index}");
    assert_eq!(node.spawner.created(), probes, "asking about a model woke it");

    let infer = node.request("POST", "/v2/models/silero_vad/infer?x=1", "", "twelve bytes").await;
    assert!(infer.starts_with("HTTP/1.1 200 "), "{infer}");
    assert!(infer.ends_with(r#"{"path":"/v2/models/silero_vad/infer?x=1","body_bytes":12}"#), "{infer}");
    assert_eq!(node.spawner.created(), probes + 1);
    assert!(node.request("POST", "/v2/models/silero-vad/versions/2/infer", "", "").await.starts_with("HTTP/1.1 404 "));
    let large = node.request("POST", "/v2/models/silero-vad/infer", "", &"x".repeat(harness::BODY_BYTES_MAX + 1)).await;
    assert!(large.starts_with("HTTP/1.1 413 "), "{large}");

    let metrics = node.get("/metrics").await;
    for code in ["200", "404", "413"] {
        assert!(
            metrics.contains(&format!(r#"dormouse_requests_total{{code="{code}",endpoint="silero-vad"}} 1"#)),
            "{metrics}"
        );
    }
    node.client.delete("silero-vad").await.unwrap();
    assert!(node.client.endpoints().await.unwrap().is_empty());
    let metrics = node.get("/metrics").await;
    assert!(!metrics.contains("silero-vad"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_dies_with_its_request_is_told_with_its_cause() {
    let node = Node::start().await;
    node.deploy("m", None).await.unwrap();
    let died = node.request("POST", "/v2/models/m/infer", "", spawner::DIE).await;
    assert!(died.starts_with("HTTP/1.1 502 ") && died.contains("out of memory"), "{died}");
    let status = node.client.endpoint("m").await.unwrap();
    assert!(status.last_failure.unwrap().contains("out of memory"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn why_no_template_is_made_is_told_where_one_was_asked_for() {
    let node = Node::start().await;
    node.deploy("unasked", None).await.unwrap();
    assert_eq!(node.client.endpoint("unasked").await.unwrap().template, TemplateUse::Off);
    let keep_template = Some(Duration::from_secs(60));
    let asked = EndpointRequest { keep_template, ..EndpointRequest::named("asked".parse().unwrap()) };
    node.deploy_as(asked).await.unwrap();
    let status = node.client.endpoint("asked").await.unwrap();
    let json = serde_json::to_value(&status).unwrap();
    assert_eq!((&json["template"]["state"], &json["templates"]), (&"impossible".into(), &serde_json::json!([])));
    assert_eq!(json["endpoint"]["keep_template"], "1m");
    let reason = json["template"]["reason"].as_str().unwrap();
    assert!(reason.starts_with("its model is not prepared: "), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_cannot_be_loaded_is_refused_with_the_reason() {
    let node = Node::start().await;
    node.spawner.refuse_models("opset 99 is not supported");
    match node.deploy("m", None).await.unwrap_err() {
        ClientError::Refused { status, message } => {
            assert!(status == 422 && message.contains("opset 99"), "{status} {message}");
        }
        other => panic!("{other}"),
    }
    let status = node.client.endpoint("m").await.unwrap();
    assert_eq!(status.condition, Condition::Failed);
    assert!(node.get("/v2/models/m/ready").await.starts_with("HTTP/1.1 503 "));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_admin_api_refuses_what_it_does_not_know() {
    let node = Node::start().await;
    for (method, path, body, status) in [
        ("GET", "/v1/nothing", "", 404),
        ("PUT", "/v1/endpoints", "", 405),
        ("GET", "/v1/endpoints/nobody", "", 404),
        ("DELETE", "/v1/endpoints/No_Label", "", 400),
        ("DELETE", "/v1/endpoints/nobody", "", 404),
        ("GET", "/v1/endpoints/nobody/logs", "", 404),
        ("POST", "/v1/endpoints", "{", 400),
        ("POST", "/v1/endpoints", r#"{"endpoint":{"name":"../x"},"files":[]}"#, 400),
        ("POST", "/v1/endpoints", r#"{"endpoint":{"name":"x"},"files":[{"path":"model.onnx"}]}"#, 400),
    ] {
        let answer = node.admin(method, path, body).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{method} {path}: {answer}");
        assert!(answer.contains(r#"{"error":"#), "{method} {path}: {answer}");
    }
    let told = node.client.node().await.unwrap();
    assert_eq!((told.listen, told.draining), (node.address, false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_told_to_end_finishes_what_runs_and_says_so() {
    let node = Node::start().await;
    node.deploy("m", None).await.unwrap();
    let mut client = node.connect().await;
    client.write_all(harness::post("/v2/models/m/infer", spawner::WAIT).as_bytes()).await.unwrap();
    node.spawner.wait_for_request().await;
    node.spawner.drain();
    node.wait_for_draining().await;
    node.spawner.let_go();
    let answer = harness::read_to_end(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let (ended, spawner) = node.ended().await;
    assert!(ended.is_ok(), "{ended:?}");
    spawner.wait_for_drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_ends_with_its_channel() {
    let node = Node::start().await;
    assert!(node.get("/healthz").await.ends_with("ok\n"));
    node.spawner.hang_up();
    let (ended, _spawner) = node.ended().await;
    assert!(matches!(ended, Err(NodeError::SpawnerGone)), "{ended:?}");
}

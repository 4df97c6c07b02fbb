//! Requests and models that are wrong, and what they are told. The rows for malformed JSON are unit tests; here
//! are those that need the whole worker.

use crate::http::{Request, Response};
use crate::process::{Worker, command, fixture, run_to_end};

#[test]
fn bad_requests_name_the_field_and_leave_the_worker_well() {
    let worker = Worker::start("dynamic.onnx");
    let input = |name: &str, rest: &str| format!(r#"{{"name":"{name}",{rest}}}"#);
    let good = r#""shape":[1,2],"datatype":"FP32","data":[1,2]"#;
    let with_a = |rest: &str| format!(r#"{{"inputs":[{},{}]}}"#, input("a", rest), input("b", good));
    for (json, expected) in [
        (with_a(r#""shape":[1,2],"datatype":"FP64","data":[1,2]"#), "'a': wrong: datatype is FP64"),
        (with_a(r#""shape":[2],"datatype":"FP32","data":[1,2]"#), "shape [2] does not fit [-1, -1]"),
        (with_a(r#""shape":[1,3],"datatype":"FP32","data":[1,2]"#), "'a'.data: wrong: 2 elements"),
        (with_a(r#""shape":[4294967296,4294967296],"datatype":"FP32","data":[1]"#), "number of elements overflows"),
        (with_a(r#""shape":[1,2],"datatype":"FP32","data":[1,"2"]"#), "element 1 is \"2\""),
        (format!(r#"{{"inputs":[{}]}}"#, input("a", good)), "input 'b' is missing"),
        (
            format!(r#"{{"inputs":[{},{},{}]}}"#, input("a", good), input("b", good), input("c", good)),
            "'c': the model has none",
        ),
        ("{\"inputs\":[".into(), "not a V2 inference request"),
    ] {
        let error = worker.infer(&json).error(400);
        assert!(error.contains(expected), "{json}\n  gave: {error}");
    }
    worker.infer(&with_a(good)).ok();
}

#[test]
fn a_failing_run_is_the_servers_error_with_its_reason() {
    let worker = Worker::start("memory.onnx");
    let json = |mebibytes: i64| {
        format!(r#"{{"inputs":[{{"name":"mebibytes","shape":[1],"datatype":"INT64","data":[{mebibytes}]}}]}}"#)
    };
    let error = worker.infer(&json(-1)).error(500);
    assert!(error.starts_with("the model failed: ") && error.contains("ConstantOfShape"), "{error}");
    let total = worker.infer(&json(1)).ok().json();
    assert_eq!(total["outputs"][0]["data"], serde_json::json!([262_144.0]));
}

#[test]
fn a_body_over_the_limit_is_refused_unread() {
    let worker = Worker::start_with("identity_matrix.onnx", &["--body-bytes-max", "4096"]);
    assert!(worker.send(Request::infer(&[b' '; 4097])).error(413).contains("limit of 4096 bytes"));
    let mut undeclared = Request::infer(b"");
    undeclared.head = undeclared.head.replace("content-length: 0", "transfer-encoding: chunked");
    undeclared.body = [b"1001\r\n".as_slice(), &[b' '; 4097], b"\r\n0\r\n\r\n"].concat();
    assert!(worker.send(undeclared).error(413).contains("limit of 4096 bytes"));
    assert!(worker.send(Request::infer(&[b' '; 4096])).error(400).contains("EOF"));
}

#[test]
fn paths_and_methods() {
    let worker = Worker::start("scalar.onnx");
    let send = |method: &str, path: &str| worker.send(Request::new(method, path, b""));
    for path in ["/v2/models/a/ready", "/v2/models/b/versions/3/ready"] {
        assert_eq!(send("GET", path).ok().json(), serde_json::json!({"name": "tested", "ready": true}));
    }
    send("GET", "/v2/models/a/versions/v10").ok();
    assert!(send("GET", "/v2/nothing").error(404).contains("/v2/models/"));
    let wrong: Response = send("GET", "/v2/models/a/infer");
    assert_eq!(wrong.header("allow"), Some("post"));
    assert!(wrong.error(405).contains("POST only"));
    assert!(send("POST", "/v2/models/a").error(405).contains("GET only"));
    let long = worker.send(Request::get("/v2/models/a").header("x", &"y".repeat(70_000)));
    assert_eq!(long.status, 431);
}

#[test]
fn a_model_that_cannot_be_loaded_ends_the_worker_with_the_reason() {
    for (model, expected) in [
        ("missing.onnx", "does not exist"),
        ("corrupt.onnx", "Protobuf parsing failed"),
        ("truncated.onnx", "Protobuf parsing failed"),
        ("unsupported_op.onnx", "NoSuchOperator"),
        ("unsupported_opset.onnx", "opset"),
        ("sequence.onnx", "output 'list' is a Sequence"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let mut command = command();
        command.args(["--bare", "--name", "n", "--model"]).arg(fixture(model));
        let (status, stderr) = run_to_end(command.arg("--socket").arg(directory.path().join("s")));
        assert_eq!(status.code(), Some(1), "{model}");
        assert!(stderr.contains(expected), "{model}: {stderr}");
    }
}

#[test]
fn a_missing_or_wrong_library_gives_advice() {
    let no_library = fixture("corrupt.onnx").canonicalize().unwrap().display().to_string();
    for (library, expected) in
        [("/nonexistent/libonnxruntime.so", "No such file"), (no_library.as_str(), "file too short")]
    {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_dormouse-worker"));
        command.args(["--onnxruntime", library, "--bare", "--name", "n", "--model", "m", "--socket", "/nonexistent/s"]);
        let (status, stderr) = run_to_end(&mut command);
        assert_eq!(status.code(), Some(1), "{stderr}");
        assert!(stderr.contains("give the path of libonnxruntime.so") && stderr.contains(library), "{stderr}");
        assert!(stderr.contains(expected), "{stderr}");
    }
}

//! The way of a request to an image and back.

use dormouse_tests::{Connection, Endpoint, Registry, Request};

use super::{ASK, IMAGE, PAGE, bring, deploy_as_it_is, deploy_script, serves, to};
use crate::{
    images::{built, home},
    real,
};

#[test]
fn an_image_of_a_registry_is_pulled_and_served_from_its_first_request() {
    let registry = Registry::start();
    registry.push(&built("busybox-httpd"), "team/hello:latest");
    let reference = registry.reference("team/hello:latest");
    let daemon = home(&[registry.address()]).start();
    let told = daemon.cli(&["deploy", &reference]).ok();
    let port = daemon.address().port();
    assert!(told.stdout.contains(&format!("hello  http://hello.localhost:{port}/")), "{}", told.stdout);

    let hello = Endpoint::of(&daemon, "hello");
    hello.until_phases(&[]);
    let status = hello.status();
    assert_eq!(status["image"]["reference"], reference);
    assert_eq!(status["image"]["port"], 8080);
    assert!(status["model"].is_null(), "{status}");
    for host in ["hello.localhost", "hello.default.example.com:8080", "HELLO.example.com"] {
        let answer = daemon.send(&Request::get("/index.html").host(host)).ok();
        assert_eq!(answer.text(), PAGE, "{host}");
    }
    hello.until_phases(&["ready"]);
    assert_eq!(daemon.send(&to("hello", "/nothing")).status, 404, "by the image");
    assert_eq!(daemon.send(&to("nobody", "/")).status, 404, "by the node");
    let shown = daemon.cli(&["status", "hello"]).ok().stdout;
    assert!(shown.contains("Image") && shown.contains("Manifest") && !shown.contains("intra-op"), "{shown}");
    let log = daemon.cli(&["logs", "hello"]).ok().stdout;
    assert!(log.contains("response:200"), "what the image printed is kept: {log}");
}

#[test]
fn a_replica_is_frozen_woken_and_ended_like_any_other() {
    let daemon = real().endpoint("freeze_after", "\"50ms\"").endpoint("zero_after", "\"5s\"").start();
    let hello = deploy_as_it_is(&daemon, "hello");
    serves(&daemon, "hello");
    hello.until_phases(&["frozen"]);
    let processes = hello.processes();
    // On the same connection and on a new one.
    let mut connection = Connection::to(daemon.address());
    assert_eq!(connection.send(&to("hello", "/")).ok().text(), PAGE);
    assert_eq!(hello.processes(), processes, "it was thawed");
    hello.until_phases(&["frozen"]);
    assert_eq!(connection.send(&to("hello", "/")).ok().text(), PAGE);
    hello.until_phases(&[]);
    serves(&daemon, "hello");
    let wake = daemon.status("hello")["last_wake"].clone();
    assert_eq!((wake["rung"].as_str(), wake["outcome"].as_str()), (Some("created"), Some("answered")), "{wake}");
}

#[test]
fn a_model_path_of_kserve_leads_to_a_custom_predictor() {
    let daemon = real().start();
    bring(&daemon);
    let script = format!(
        "mkdir -p /tmp/www/v1/models /tmp/www/v2/models/own\necho predicted >/tmp/www/v1/models/own:predict\necho ready >/tmp/www/v2/models/own/ready\n{ASK}"
    );
    let manifest = format!(
        "apiVersion: serving.kserve.io/v1beta1\nkind: InferenceService\nmetadata:\n  name: own\nspec:\n  predictor:\n    \
         minReplicas: 0\n    containers:\n      - name: kserve-container\n        image: {IMAGE}\n        \
         command: [/bin/sh, -c, {script:?}]\n"
    );
    let file = daemon.home().write("own.yaml", manifest);
    let _ = daemon.cli(&["deploy", "-f", file.to_str().unwrap()]).ok();
    assert_eq!(daemon.get("/v1/models/own:predict").ok().text(), "predicted\n");
    assert_eq!(daemon.get("/v2/models/own/ready").ok().text(), "ready\n");
}

#[test]
fn a_service_of_knative_is_deployed_with_its_settings() {
    let daemon = real().start();
    bring(&daemon);
    let manifest = format!(
        "apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata:\n  name: hello\nspec:\n  template:\n    metadata:\n      \
         annotations:\n        autoscaling.knative.dev/min-scale: \"1\"\n    spec:\n      containerConcurrency: 3\n      \
         containers:\n        - image: {IMAGE}\n          ports:\n            - containerPort: 9123\n          env:\n            \
         - name: GREETING\n              value: hi\n          readinessProbe:\n            httpGet:\n              path: /index.html\n"
    );
    let file = daemon.home().write("hello.yaml", manifest);
    let _ = daemon.cli(&["deploy", "-f", file.to_str().unwrap(), "--wait"]).ok();
    let status = daemon.status("hello");
    assert_eq!(status["image"]["port"], 9123);
    assert_eq!(status["endpoint"]["container_concurrency"], 3);
    assert_eq!(status["endpoint"]["min_replicas"], 1);
    Endpoint::of(&daemon, "hello").until_phases(&["ready"]);
    serves(&daemon, "hello");
}

#[test]
fn what_is_sent_and_answered_passes_as_it_is() {
    let daemon = real().start();
    bring(&daemon);
    deploy_script(
        &daemon,
        "echo",
        &ASK.replace("eval ", "case $REQUEST_METHOD in POST) exec cat;; esac\\neval "),
        &[],
        "",
    );
    let body = vec![b'x'; 3 << 20];
    let request = Request::post("/cgi-bin/ask?x", body.clone()).host("echo.example.com");
    let answer = daemon.send(&request).ok();
    assert_eq!(answer.text().len(), body.len());
}

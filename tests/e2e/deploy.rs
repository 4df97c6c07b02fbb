//! From files to an endpoint, from one revision to the next, and to nothing.

use std::{fs, thread};

use dormouse_tests::{
    Endpoint, Round, Script,
    daemon::manifest,
    endpoint::{echo_body, replace},
    paths, processes,
    script::{Infer, Load},
    wait::until_true,
};
use serde_json::json;

use crate::{fake, real};

#[test]
fn a_manifest_names_what_is_not_honoured() {
    let daemon = real().start();
    let text = format!(
        "apiVersion: serving.kserve.io/v1beta1\nkind: InferenceService\nmetadata:\n  name: scaled\n  labels:\n    team: \
         edge\nspec:\n  predictor:\n    serviceAccountName: robot\n    maxReplicas: 3\n    containerConcurrency: 2\n    \
         timeout: 20\n    model:\n      modelFormat:\n        name: onnx\n      storageUri: file://{}\n      \
         resources:\n        limits:\n          cpu: 500m\n          memory: 300Mi\n",
        paths::fixture("scalar.onnx").display()
    );
    let file = daemon.home().write("service.yaml", text);
    let told = daemon.cli(&["deploy", "-f", file.to_str().unwrap()]).ok();
    for warning in [
        "spec.predictor.serviceAccountName is not honoured",
        "spec.predictor.minReplicas is not set",
        "protocolVersion is not set",
    ] {
        assert!(told.stderr.contains(warning), "{warning}: {}", told.stderr);
    }
    assert!(!told.stdout.contains("honoured"), "warnings are not results: {}", told.stdout);
    let endpoint = &daemon.status("scaled")["endpoint"];
    assert_eq!(endpoint["max_replicas"], 3);
    assert_eq!(endpoint["container_concurrency"], 2);
    assert_eq!(endpoint["timeout"], "20s");
    let body = json!({ "inputs": [
        { "name": "x", "datatype": "FP32", "shape": [3], "data": [1, 2, 3] },
        { "name": "scale", "datatype": "FP32", "shape": [], "data": [2] },
    ]});
    let answer = Endpoint::of(&daemon, "scaled").infer(&body).ok().json();
    assert_eq!(answer["outputs"][0]["data"], json!([2.0, 4.0, 6.0]));
}

#[test]
fn the_examples_of_configs_deploy_where_their_models_are() {
    let daemon = fake().start();
    let folder = paths::repository().join("configs/endpoints");
    for file in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let model = daemon.home().write("any.onnx", Script::echo().salt(&file.display().to_string()).to_model());
        let text = fs::read_to_string(&file).unwrap();
        let uris = text.lines().filter_map(|line| line.trim().strip_prefix("storageUri: ")).map(str::to_owned);
        let uris: Vec<String> = uris.collect();
        if uris.is_empty() {
            // Of an image on a registry elsewhere; that it is read is for the tests of manifests.
            assert!(text.contains("image: "), "{}", file.display());
            continue;
        }
        let text =
            uris.into_iter().fold(text.clone(), |text, uri| text.replace(&uri, &format!("file://{}", model.display())));
        let file = daemon.home().write("example.yaml", text);
        let _ = daemon.cli(&["deploy", "-f", file.to_str().unwrap()]).ok();
    }
    let deployed = daemon.admin("/v1/endpoints").json();
    assert!(deployed.as_array().unwrap().len() >= 3, "{deployed}");
}

#[test]
fn external_data_comes_along() {
    let daemon = real().start();
    let directory = paths::fixture("external");
    let _ = daemon.cli(&["deploy", directory.to_str().unwrap()]).ok();
    let endpoint = Endpoint::of(&daemon, "external");
    let body = json!({ "inputs": [{ "name": "x", "datatype": "FP32", "shape": [4], "data": [1, 0, 0, 1] }] });
    assert_eq!(endpoint.infer(&body).ok().json()["outputs"][0]["data"], json!([9.0, 11.0, 13.0]));

    let lonely = daemon.home().write("lonely/model.onnx", fs::read(directory.join("model.onnx")).unwrap());
    let reason = daemon.cli(&["deploy", lonely.parent().unwrap().to_str().unwrap()]).failed(1);
    assert!(reason.contains("weights.bin") && reason.contains("does not exist"), "{reason}");
    std::os::unix::fs::symlink(directory.join("weights.bin"), lonely.with_file_name("weights.bin")).unwrap();
    let reason = daemon.cli(&["deploy", lonely.parent().unwrap().to_str().unwrap()]).failed(1);
    assert!(reason.contains("symbolic link"), "{reason}");
}

#[test]
fn a_redeploy_moves_the_traffic_and_lets_the_old_finish() {
    let daemon = fake().start();
    // The same model twice, so that the first is still stored when the second has another.
    let model = daemon.home().write("m.onnx", Script::echo().infer(Infer::Hold).to_model());
    let (keeper, endpoint) = (daemon.deploy("keeper", &model), daemon.deploy("m", &model));
    thread::scope(|scope| {
        let old = scope.spawn(|| endpoint.infer(&echo_body(1)));
        endpoint.until_leases(1);
        daemon.deploy_fake("m", Script::echo(), &[]);
        assert_eq!(daemon.get(&endpoint.path("")).ok().json()["versions"], json!(["2"]));
        let answer = endpoint.infer(&echo_body(2)).ok().json();
        assert_eq!((&answer["model_version"], &answer["outputs"][0]["data"]), (&json!("2"), &json!([2])));
        let _ = daemon.get(&endpoint.path("/versions/1")).error(404);
        assert!(endpoint.replicas().iter().any(|replica| replica.revision == 1 && replica.phase == "draining"));
        keeper.play(Script::echo());
        let answer = old.join().unwrap().ok().json();
        assert_eq!((&answer["model_version"], &answer["outputs"][0]["data"]), (&json!("1"), &json!([1])));
    });
    until_true("the old replica is gone", || endpoint.replicas().iter().all(|replica| replica.revision == 2));
}

#[test]
fn a_redeploy_that_fails_leaves_what_served() {
    let daemon = fake().start();
    let endpoint = daemon.deploy_fake("m", Script::echo(), &[]);
    let processes = {
        endpoint.check_echo(1);
        endpoint.processes()
    };
    let bad = daemon.home().write("bad.onnx", Script::echo().load(Load::Fail).to_model());
    let reason = daemon.cli(&["deploy", bad.to_str().unwrap(), "--name", "m"]).failed(1);
    assert!(reason.contains("the script says no"), "{reason}");
    endpoint.check_echo(2);
    // The replica that failed may be ending.
    until_true("it went on undisturbed", || endpoint.processes() == processes);
    let status = endpoint.status();
    assert_eq!((&status["revision"], &status["condition"]), (&json!(1), &json!("ready")));
    assert!(status["last_failure"].as_str().is_some_and(|failure| failure.contains("the script says no")));
    assert_eq!(stored_models(&daemon), 1, "the model that was refused is not kept");
}

#[test]
fn a_first_deploy_that_fails_can_be_seen_repaired_and_deleted() {
    let daemon = fake().start();
    let bad = daemon.home().write("m.onnx", Script::echo().load(Load::Fail).to_model());
    let _ = daemon.cli(&["deploy", bad.to_str().unwrap()]).failed(1);
    let endpoint = Endpoint::of(&daemon, "m");
    assert_eq!(endpoint.status()["condition"], "failed");
    assert_eq!(daemon.get(&endpoint.path("/ready")).status, 503);
    let refused = daemon.send(&endpoint.echo_request(1));
    assert!(refused.error(503).contains("the script says no"));
    daemon.deploy_fake("m", Script::echo(), &[]).check_echo(2);
    assert_eq!(endpoint.status()["revision"], 1);
    endpoint.delete();
    let _ = daemon.get(&endpoint.path("")).error(404);
}

#[test]
fn deploys_of_one_endpoint_do_not_overlap() {
    let daemon = fake().start();
    let slow = daemon.home().write("m.onnx", Script::echo().load(Load::Hold).to_model());
    let slow = slow.to_str().unwrap();
    thread::scope(|scope| {
        let first = scope.spawn(|| daemon.cli(&["deploy", slow]));
        let endpoint = Endpoint::of(&daemon, "m");
        until_true("its replica loads", || !endpoint.replicas_with_sockets().is_empty());
        let reason = daemon.cli(&["deploy", slow]).failed(1);
        assert!(reason.contains("being deployed"), "{reason}");
        let refused = daemon.send(&endpoint.echo_request(1));
        assert!(refused.error(503).contains("deployed"), "{}", refused.text());
        let _ = refused.retry_after();
        let index = daemon.send(&dormouse_tests::Request::post("/v2/repository/index", "")).ok().json();
        assert_eq!(index[0]["state"], "LOADING");
        let mut stored = fs::read_dir(daemon.home().data().join("models")).unwrap().map(|entry| entry.unwrap().path());
        let stored = stored.find(|path| path.join("model.onnx").exists()).expect("the model that is being deployed");
        replace(&stored, &Script::echo());
        let _ = first.join().unwrap().ok();
    });
}

#[test]
fn what_can_never_fit_is_refused_with_what_is_short() {
    let daemon = fake().in_round(Round::Created).set("node", "memory_budget", "\"256Mi\"").start();
    let model = daemon.home().write("m.onnx", Script::echo().to_model());
    let file = daemon.home().write("big.yaml", manifest("big", &model, &[("memory", "1Gi")]));
    let reason = daemon.cli(&["deploy", "-f", file.to_str().unwrap()]).failed(1);
    assert!(reason.contains("1Gi") && reason.contains("256Mi") && reason.contains("768Mi is short"), "{reason}");
}

#[test]
fn a_delete_leaves_nothing() {
    let daemon = fake().start();
    let endpoint = daemon.deploy_fake("m", Script::echo(), &[]);
    endpoint.check_echo(1);
    let processes = endpoint.processes();
    endpoint.delete();
    assert!(processes.iter().all(|pid| !processes::lives(*pid)));
    let run = daemon.home().run();
    for folder in [run.join("sockets"), run.join("logs"), daemon.home().data().join("endpoints")] {
        let left: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(left.is_empty(), "{left:?}");
    }
    assert_eq!(stored_models(&daemon), 0);
    let groups: Vec<_> = processes::control_groups(daemon.instance())
        .into_iter()
        .filter(|group| group.file_name().is_some_and(|name| name.to_string_lossy().starts_with("m-")))
        .collect();
    assert!(groups.is_empty(), "{groups:?}");
    let reason = daemon.cli(&["delete", "m"]).failed(1);
    assert!(reason.contains("no endpoint named `m`"), "{reason}");
    // The name is free, and counts from the beginning.
    daemon.deploy_fake("m", Script::echo(), &[]).check_echo(2);
    assert_eq!(endpoint.status()["revision"], 1);
}

#[test]
fn deploy_can_wait_for_replicas() {
    let daemon = fake().start();
    let model = daemon.home().write("m.onnx", Script::echo().to_model());
    let file = daemon.home().write("m.yaml", manifest("m", &model, &[("min-replicas", "1")]));
    let _ = daemon.cli(&["deploy", "--wait", "-f", file.to_str().unwrap()]).ok();
    assert_eq!(Endpoint::of(&daemon, "m").phases(), ["ready"]);
}

fn stored_models(daemon: &dormouse_tests::Daemon) -> usize {
    let models = daemon.home().data().join("models");
    fs::read_dir(models)
        .unwrap()
        .filter(|entry| entry.as_ref().is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with("sha256-")))
        .count()
}

#[test]
fn a_first_deploy_that_fails_gives_its_uid_back() {
    let daemon = real().in_round(Round::Created).start();
    let model = paths::fixture("unsupported_op.onnx");
    let told = daemon.cli(&["deploy", model.to_str().unwrap(), "--name", "refused"]).failed(1);
    assert!(told.contains("NoSuchOperator"), "{told}");
    let record = daemon.home().data().join("uids.json");
    until_true("the uid is given back", || !fs::read_to_string(&record).unwrap().contains("refused"));
}

//! Models are optimised once, and what was made of them serves, is verified, renewed and deleted.

mod faults;
mod renewal;

use std::{fs, path::Path};

use dormouse_tests::{Daemon, Endpoint, Request, Script, paths, wait::until_true};
use serde_json::{Value, json};

use crate::{fake, real, silero};

/// What `status --json` tells of it.
fn preparation(endpoint: &Endpoint<'_>) -> Value {
    endpoint.status()["preparation"].clone()
}

/// Why the original serves.
#[track_caller]
fn reason(endpoint: &Endpoint<'_>) -> String {
    let preparation = preparation(endpoint);
    assert_eq!(preparation["outcome"], "original", "{preparation}");
    preparation["reason"].as_str().unwrap().to_owned()
}

/// The store's entries, unfinished ones too.
fn stored(data: &Path) -> Vec<String> {
    let entries = fs::read_dir(data.join("prepared")).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn deploy(daemon: &Daemon, fixture: &str, more: &[&str]) -> dormouse_tests::Told {
    let model = paths::fixture(fixture);
    daemon.cli(&[&["deploy", model.to_str().unwrap(), "--name", "m"], more].concat())
}

#[test]
fn replicas_map_what_was_prepared_of_their_model() {
    let daemon = real().start();
    let endpoint = daemon.deploy("m", &silero::model());
    let told = preparation(&endpoint);
    assert_eq!((&told["outcome"], &told["verified"]), (&json!("prepared"), &json!("seeded")));
    let text = daemon.cli(&["status", "m"]).ok().stdout;
    assert!(text.contains("Prepared") && text.contains("Verified") && text.contains("seeded"), "{text}");

    // Zeros are no speech, whatever it makes of them.
    let _ = daemon.cli(&["infer", "m"]);
    let pids = endpoint.processes();
    let maps = fs::read_to_string(format!("/proc/{}/maps", pids[0])).unwrap();
    // Only a replica that prepares can be told to, and no client reaches one.
    assert_eq!(daemon.send(&Request::post(&endpoint.path("/prepare"), "")).status, 404);
    let key = told["key"].as_str().unwrap().replace(':', "-");
    let mapped: Vec<&str> = maps.lines().filter(|line| line.ends_with(&format!("{key}/model.ort"))).collect();
    assert!(!mapped.is_empty() && mapped.iter().all(|line| line.contains(" r--p ")), "{maps}");
}

#[test]
fn one_preparation_serves_every_endpoint_of_the_model_and_goes_with_the_last() {
    let daemon = fake().start();
    let model = daemon.home().write("model.onnx", Script::echo().to_model());
    let deploy = |name| daemon.cli(&["deploy", model.to_str().unwrap(), "--name", name]).ok().stderr;
    assert!(deploy("a").contains("preparing"));
    assert!(!deploy("b").contains("preparing"), "it is there");
    assert_eq!(daemon.metrics().sum("dormouse_preparations_total", &["result=\"ok\""]), 1.0);
    let [a, b] = ["a", "b"].map(|name| Endpoint::of(&daemon, name));
    assert_eq!(preparation(&a), preparation(&b));
    a.check_echo(1);
    assert_eq!(stored(&daemon.home().data()).len(), 1);
    a.delete();
    assert_eq!(stored(&daemon.home().data()).len(), 1);
    b.check_echo(2);
    b.delete();
    assert_eq!(stored(&daemon.home().data()), [""; 0]);
}

#[test]
fn a_sample_verifies_and_one_of_another_model_is_refused() {
    let daemon = real().start();
    let sample = |shape: u32| {
        let text =
            json!({"inputs": [{"name": "x", "shape": [shape], "datatype": "FP32", "data": vec![0.5; shape as usize]}]});
        daemon.home().write(&format!("{shape}.json"), text.to_string()).to_str().unwrap().to_owned()
    };
    // Its signature says nothing of the one length that it takes.
    let _ = deploy(&daemon, "picky.onnx", &[]).ok();
    let endpoint = Endpoint::of(&daemon, "m");
    assert_eq!(preparation(&endpoint)["verified"], "no");
    let text = daemon.cli(&["status", "m"]).ok().stdout;
    assert!(text.contains("no (give --sample)"), "{text}");

    for (sample, told) in [
        (sample(6), "the model does not answer the sample"),
        (daemon.home().write("no.json", "{}").to_str().unwrap().to_owned(), "the sample cannot be used"),
        (daemon.home().write("empty.json", "").to_str().unwrap().to_owned(), "the sample is empty"),
    ] {
        let refused = deploy(&daemon, "picky.onnx", &["--sample", &sample]).failed(1);
        assert!(refused.contains(told), "{refused}");
        assert_eq!(endpoint.status()["revision"], 1);
    }
    // What is there was not verified on it, so it is prepared again.
    assert!(deploy(&daemon, "picky.onnx", &["--sample", &sample(7)]).ok().stderr.contains("preparing"));
    assert_eq!(preparation(&endpoint)["verified"], "sample");
    assert!(!deploy(&daemon, "picky.onnx", &["--sample", &sample(7)]).ok().stderr.contains("preparing"));
    assert_eq!(preparation(&endpoint)["verified"], "sample");
    assert_eq!(stored(&daemon.home().data()).len(), 1);
}

#[test]
fn what_cannot_be_prepared_is_served_as_it_is() {
    let daemon = real().start();
    for (fixture, told, input) in [
        ("random.onnx", "answers the same request differently each time", 3),
        // Computed ahead, its constant is larger than the file may become.
        ("unfolding.onnx", "cannot be saved in ORT format", 1),
    ] {
        let said = deploy(&daemon, fixture, &[]).ok().stderr;
        assert!(said.contains("not prepared, the original serves: ") && said.contains(told), "{said}");
        let endpoint = Endpoint::of(&daemon, "m");
        assert!(reason(&endpoint).contains(told), "{}", reason(&endpoint));
        let text = daemon.cli(&["status", "m"]).ok().stdout;
        assert!(text.contains("no (") && text.contains(told), "{text}");
        assert_eq!(stored(&daemon.home().data()), [""; 0]);
        let data = vec![0.5; input];
        let _ = endpoint
            .infer(&json!({"inputs": [{"name": "x", "shape": [input], "datatype": "FP32", "data": data}]}))
            .ok();
    }
}

#[test]
fn external_data_is_a_part_of_what_is_prepared() {
    let daemon = real().start();
    let endpoint = daemon.deploy("m", &paths::fixture("external"));
    let key = preparation(&endpoint)["key"].as_str().expect("it is prepared").replace(':', "-");
    let ask = || {
        let body = json!({"inputs": [{"name": "x", "shape": [4], "datatype": "FP32", "data": [1, 0, 0, 0]}]});
        endpoint.infer(&body).ok().json()["outputs"][0]["data"].clone()
    };
    assert_eq!(ask(), json!([0.0, 1.0, 2.0]));
    let maps = fs::read_to_string(format!("/proc/{}/maps", endpoint.processes()[0])).unwrap();
    assert!(maps.contains(&format!("{key}/model.ort")), "{maps}");
}

#[test]
fn a_node_may_prepare_nothing() {
    let daemon = fake().set("node", "prepare_models", "false").start();
    let endpoint = daemon.deploy_fake("m", Script::echo(), &[]);
    assert!(reason(&endpoint).contains("`prepare_models` is off"));
    endpoint.check_echo(1);
    assert_eq!(stored(&daemon.home().data()), [""; 0]);
    until_true("nothing runs for it", || endpoint.phases().len() == 1);
}

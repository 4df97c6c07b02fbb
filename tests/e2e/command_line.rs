//! The command line: results on stdout, exit codes, help.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use dormouse_tests::{Endpoint, Script, Told, cli, paths, processes};
use serde_json::{Value, json};

use crate::{REAL, fake, real};

#[test]
fn help_teaches_and_wrong_usage_is_two() {
    let run = |arguments: &[&str]| cli::run(Command::new(REAL).args(arguments));
    let help = run(&["--help"]).ok().stdout;
    for verb in ["serve", "daemon", "deploy", "ls", "status", "infer", "logs", "delete"] {
        assert!(help.contains(verb), "{help}");
        assert!(run(&[verb, "--help"]).ok().stdout.contains("\nExample"), "{verb}");
    }
    for wrong in [&["--wat"][..], &[], &["deploy"], &["status"], &["ls", "extra"], &["infer", "Not A Name"]] {
        assert_eq!(run(wrong).code, Some(2), "{wrong:?}");
    }
}

#[test]
fn infer_sends_zeros_or_what_it_is_given() {
    let daemon = real().start();
    daemon.deploy("m", &paths::fixture("identity_matrix.onnx"));
    let told = daemon.cli(&["infer", "m"]).ok();
    assert!(told.stderr.contains("zeros") && told.stderr.contains("IN_FP32"), "{}", told.stderr);
    let answer: Value = serde_json::from_str(&told.stdout).unwrap();
    assert_eq!(
        answer["outputs"][0],
        json!({ "name": "OUT_FP32", "datatype": "FP32", "shape": [1, 2], "data": [0.0, 0.0] })
    );

    let body = json!({ "inputs": [{ "name": "IN_FP32", "datatype": "FP32", "shape": [1, 2], "data": [1, 2] }] });
    let file = daemon.home().write("request.json", body.to_string());
    let of_file = daemon.cli(&["infer", "m", "--input", file.to_str().unwrap()]).json();
    assert_eq!(of_file["outputs"][0]["data"], json!([1.0, 2.0]));

    let mut command = daemon.command(&["infer", "m", "--input", "-"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(body.to_string().as_bytes()).unwrap();
    let of_stdin = Told::of(&child.wait_with_output().unwrap(), "infer --input -".to_owned()).json();
    assert_eq!(of_stdin, of_file);

    let reason = daemon.cli(&["infer", "nobody"]).failed(1);
    assert!(reason.contains("404") && reason.contains("nobody"), "{reason}");
}

#[test]
fn ls_and_status_show_what_runs() {
    let daemon = fake().start();
    assert_eq!(daemon.cli(&["ls", "--json"]).json(), json!([]));
    let endpoint = daemon.deploy_fake("m", Script::echo(), &[]);
    endpoint.check_echo(1);
    let listed = daemon.cli(&["ls"]).ok().stdout;
    assert!(listed.contains("1 ready"), "{listed}");
    let status = daemon.cli(&["status", "m"]).ok().stdout;
    let replica = endpoint.replicas().remove(0).id;
    assert!(status.contains(&replica) && status.contains("Condition"), "{status}");
    assert_eq!(daemon.status("m")["replicas"][0]["phase"], "ready");
    assert!(daemon.cli(&["status", "nobody"]).failed(1).contains("`nobody`"));
}

#[test]
fn several_daemons_run_side_by_side() {
    let (one, other) = (fake().start(), fake().start());
    one.deploy_fake("a", Script::echo(), &[]).check_echo(1);
    other.deploy_fake("b", Script::echo(), &[]).check_echo(2);
    assert_ne!(one.instance(), other.instance());
    let uid = |daemon, name| processes::uid(Endpoint::of(daemon, name).processes()[0]);
    assert_ne!(uid(&one, "a"), uid(&other, "b"), "not even two daemons give one uid to two endpoints");
    let names = |daemon: &dormouse_tests::Daemon| daemon.get("/v2/models").ok().json()["models"].clone();
    assert_eq!((names(&one), names(&other)), (json!(["a"]), json!(["b"])));
    one.stop();
    assert!(other.listens());
    Endpoint::of(&other, "b").check_echo(3);
}

#[test]
fn a_start_that_fails_leaves_nothing_and_harms_nobody() {
    let other = fake().start();
    let daemon = fake().start();
    let instance = daemon.instance().to_owned();
    let home = daemon.stop();
    let taken = other.address().to_string();
    let reason = home.cli(&["daemon", "--listen", &taken]).failed(1);
    assert!(reason.contains("is taken"), "{reason}");
    assert!(processes::control_groups(&instance).is_empty());
    other.deploy_fake("m", Script::echo(), &[]).check_echo(1);
    // The same place serves as if nothing had been.
    home.start_again().deploy_fake("m", Script::echo(), &[]).check_echo(2);
}

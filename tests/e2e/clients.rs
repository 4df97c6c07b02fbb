//! Unmodified clients of the field, all three models, answers compared with ONNX Runtime in Python.

use std::process::Command;

use dormouse_tests::{Daemon, cli, paths};

use crate::real;

pub(crate) const MODELS: [(&str, &str); 3] =
    [("silero-vad", "silero_vad.onnx"), ("magika", "magika.onnx"), ("minilm", "minilm.onnx")];

/// A daemon with the models of `make run`.
pub(crate) fn with_demo_models() -> Daemon {
    let daemon = real().start();
    for (name, file) in MODELS {
        daemon.deploy(name, &paths::model(file));
    }
    daemon
}

fn python(script: &str) -> Command {
    let mut command = Command::new(paths::python());
    command.arg(paths::repository().join("tests/python").join(script));
    command
}

#[test]
fn tritonclient_gets_onnx_runtimes_answers() {
    let daemon = with_demo_models();
    for (name, _) in MODELS {
        let preparation = daemon.status(name)["preparation"].clone();
        assert_eq!(
            (&preparation["outcome"], &preparation["verified"]),
            (&"prepared".into(), &"seeded".into()),
            "{name}"
        );
    }
    let mut command = python("compare_with_onnxruntime.py");
    command.arg(format!("http://{}", daemon.address()));
    command.args(MODELS.map(|(name, file)| format!("{name}={}", paths::model(file).display())));
    let told = cli::run(&mut command).ok();
    assert_eq!(told.stdout.matches(" equal: ").count(), 2 * MODELS.len(), "{}", told.stdout);
}

#[test]
fn tritonclient_gets_what_it_can_ask_for() {
    let daemon = real().start();
    let names = ["identity", "identity_bytes", "identity_fp16", "identity_bf16", "non_finite"];
    // The endpoint's name has no underscore; the file's own name is its alias.
    for name in names {
        let _ = daemon.cli(&["deploy", paths::fixture(&format!("{name}.onnx")).to_str().unwrap()]).ok();
    }
    let url = format!("http://{}", daemon.address());
    let told = cli::run(python("triton_client_features.py").args(names.map(|name| format!("{name}={url}")))).ok();
    assert_eq!(told.stdout.matches("as expected").count(), names.len(), "{}", told.stdout);
}

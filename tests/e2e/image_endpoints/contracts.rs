//! Images that keep to what other platforms demand, as their configurations say or a deploy does.

use std::{fs, process::Command};

use dormouse_tests::{
    Daemon, cli,
    oci_image::{Compression, Entry, Image, ImageBuilder, LayerBuilder, Layout},
};
use serde_json::json;

use super::{ASK, IMAGE, ask, to, try_script};
use crate::real;

/// The shell of these images.
const BUSYBOX: &str = "/usr/bin/busybox";
/// Serves where it is told by `$1` what its contract asks for, and whatever else [`ASK`] does.
const SERVER: &str = "#!/bin/sh\nmkdir -p /tmp/www && echo pong >/tmp/www/ping && echo $1 >/tmp/www/argument\n";

/// Brings an image of a shell whose entrypoint is a server.
fn bring(daemon: &Daemon, change: impl FnOnce(ImageBuilder) -> Image) {
    let applets = ["sh", "mkdir", "chmod", "httpd", "env", "cat", "grep"];
    let layer = LayerBuilder::new(Compression::Gzip)
        .directory("bin")
        .entry(Entry::file("bin/busybox", fs::read(BUSYBOX).unwrap()).mode(0o755))
        .entry(Entry::file("server", format!("{SERVER}{ASK}")).mode(0o755));
    let layer = applets.iter().fold(layer, |layer, applet| layer.symlink(format!("bin/{applet}"), "busybox"));
    let image = ImageBuilder::new().layer(layer.build()).entrypoint(&["/server"]).env(&["PATH=/bin"]);
    let (directory, archive) = (daemon.home().path().join("image"), daemon.home().path().join("image.tar"));
    let layout = Layout::of(&directory, &change(image), "a");
    let _ = cli::run(Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(layout.directory()).arg(".")).ok();
    let _ = daemon.cli(&["image", "import", archive.to_str().unwrap(), "--name", IMAGE]).ok();
}

#[test]
fn an_image_of_sagemaker_is_known_and_run_as_there() {
    let daemon = real().start();
    bring(&daemon, |image| {
        let label = json!({ "com.amazonaws.sagemaker.capabilities.accept-bind-to-port": "true" });
        image.cmd(&["train"]).build().alter_config(|config| config["config"]["Labels"] = label)
    });
    let told = daemon.cli(&["deploy", IMAGE, "--name", "hello"]).ok();
    assert!(told.stderr.contains("hello: its contract is sagemaker: the image's label"), "{}", told.stderr);
    assert_eq!(ask(&daemon, "hello", "cat /tmp/www/argument; echo $SAGEMAKER_BIND_TO_PORT").trim_end(), "serve\n8080");
    let contract = &daemon.status("hello")["image"]["contract"];
    assert_eq!(contract["name"], "sagemaker", "{contract}");
    let shown = daemon.cli(&["status", "hello"]).ok().stdout;
    assert!(shown.contains("Contract") && shown.contains("accept-bind-to-port"), "{shown}");
    // What is said goes before it, and nothing of an image is known that does not say it.
    let _ = daemon.cli(&["deploy", IMAGE, "--name", "plain", "--contract", "knative"]).ok();
    assert_eq!(daemon.send(&to("plain", "/argument")).ok().text().trim_end(), "train");
}

#[test]
fn readiness_is_what_the_contract_says_and_raw_adds_nothing() {
    let daemon = real().start();
    bring(&daemon, ImageBuilder::build);
    let told = daemon.cli(&["deploy", IMAGE, "--name", "cog", "--contract", "lambda"]);
    assert_eq!(told.code, Some(2));
    assert!(told.stderr.contains("knative, kserve, sagemaker"), "{}", told.stderr);
    let settings = [("contract", "kserve"), ("start-deadline", "2s")];
    let late = try_script(&daemon, "late", &format!("#!/bin/sh\n{ASK}"), &settings, "").failed(1);
    assert!(late.contains("GET /v2/health/ready on port 8080 was answered 404"), "{late}");
    let script = format!("PORT=7000\n{ASK}");
    let _ = try_script(&daemon, "raw", &script, &[("contract", "raw")], "ports: [{containerPort: 7000}]").ok();
    assert_eq!(ask(&daemon, "raw", "env | grep -c ^K_ || true").trim_end(), "0");
}

//! Images that serve: started by a request, reached without a network, frozen and ended like models.

mod bad_input;
mod contract;
mod contracts;
mod crash;
mod h2c;
mod life;
mod model_server;
mod probes;
mod serving;
mod volumes;
mod watermark;

use std::process::Command;

use dormouse_tests::{Daemon, Endpoint, Request, Response, Told, cli, paths};

/// What the image of set-up is called in these tests.
const IMAGE: &str = "example.org/web:1";
const PAGE: &str = "busybox serves this\n";
/// Answers `/cgi-bin/ask?COMMAND` with what a command of the image's shell prints.
pub(crate) const ASK: &str = r#"pwd >/tmp/pwd; mkdir -p /tmp/www/cgi-bin
printf '#!/bin/sh\nprintf "content-type: text/plain\\r\\n\\r\\n"\neval "$(httpd -d "$QUERY_STRING")" 2>&1\n' >/tmp/www/cgi-bin/ask
chmod 755 /tmp/www/cgi-bin/ask
exec httpd -f -p "$PORT" -h /tmp/www"#;

/// Brings the image of set-up to the node, without a registry.
pub(crate) fn bring(daemon: &Daemon) {
    import(daemon, "busybox-httpd");
}

/// The same with another one that set-up built.
fn import(daemon: &Daemon, built: &str) {
    let archive = daemon.home().path().join("image.tar");
    let layout = paths::setup("images").join(built);
    let _ = cli::run(Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(layout).arg(".")).ok();
    let _ = daemon.cli(&["image", "import", archive.to_str().unwrap(), "--name", IMAGE]).ok();
}

/// Deploys the image as it is.
fn deploy_as_it_is<'a>(daemon: &'a Daemon, name: &str) -> Endpoint<'a> {
    bring(daemon);
    let _ = daemon.cli(&["deploy", IMAGE, "--name", name]).ok();
    Endpoint::of(daemon, name)
}

/// A Pod of the image that runs this script of its shell. `settings` are keys of `dormouse.dev/` annotations and
/// `container` are lines of its container.
pub(crate) fn pod(name: &str, script: &str, settings: &[(&str, &str)], container: &str) -> String {
    let annotations: String =
        settings.iter().map(|(key, value)| format!("    dormouse.dev/{key}: {value:?}\n")).collect();
    let annotations = if annotations.is_empty() { String::new() } else { format!("  annotations:\n{annotations}") };
    let container: String = container.lines().map(|line| format!("      {line}\n")).collect();
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n{annotations}spec:\n  containers:\n    - name: web\n      \
         image: {IMAGE}\n      command: [/bin/sh, -c, {script:?}]\n{container}"
    )
}

fn try_script(daemon: &Daemon, name: &str, script: &str, settings: &[(&str, &str)], container: &str) -> Told {
    let manifest = daemon.home().write(&format!("{name}.yaml"), pod(name, script, settings, container));
    daemon.cli(&["deploy", "-f", manifest.to_str().unwrap()])
}

/// Deploys an endpoint of the image that runs this script.
fn deploy_script<'a>(
    daemon: &'a Daemon,
    name: &str,
    script: &str,
    settings: &[(&str, &str)],
    container: &str,
) -> Endpoint<'a> {
    let _ = try_script(daemon, name, script, settings, container).ok();
    Endpoint::of(daemon, name)
}

/// A request to an endpoint by its host.
fn to(name: &str, path: &str) -> Request {
    Request::get(path).host(&format!("{name}.example.com"))
}

/// What a shell in a replica of an endpoint that runs [`ASK`] prints.
#[track_caller]
pub(crate) fn ask(daemon: &Daemon, name: &str, command: &str) -> String {
    let escaped: String = command.bytes().map(|byte| format!("%{byte:02x}")).collect();
    daemon.send(&to(name, &format!("/cgi-bin/ask?{escaped}"))).ok().text()
}

#[track_caller]
fn serves(daemon: &Daemon, name: &str) -> Response {
    let answer = daemon.send(&to(name, "/")).ok();
    assert_eq!(answer.text(), PAGE);
    answer
}

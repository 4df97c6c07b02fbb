//! Commands that cannot do what they are asked.

use std::{path::Path, process::Command};

use dormouse_tests::{Home, cli, paths};

use super::{Answer, Bench, Expected::Exit, Row};
use crate::{REAL, real};

fn deploy(bench: &Bench, path: &Path) -> Answer {
    // Where it fails, `dynamic` goes on in the revision that it has.
    bench.real.cli(&["deploy", path.to_str().unwrap(), "--name", "dynamic"]).into()
}

fn manifest(bench: &Bench, text: &str) -> Answer {
    let file = bench.real.home().write("bad.yaml", text);
    bench.real.cli(&["deploy", "-f", file.to_str().unwrap()]).into()
}

/// Starts a daemon that must not start.
fn daemon(home: &Home) -> Answer {
    home.cli(&["daemon"]).into()
}

/// Runs the daemon by way of another program.
fn daemon_through(program: &str, arguments: &[&str]) -> Answer {
    let home = real();
    let daemon = home.command(&["daemon"]);
    cli::run(Command::new(program).args(arguments).arg(home.public_program()).args(daemon.get_args())).into()
}

fn daemon_in(run: &Path, home: &Home) -> Answer {
    cli::run(Command::new(REAL).arg("daemon").arg("--run").arg(run).arg("--data").arg(home.data())).into()
}

/// Hides the mounted control groups from one process.
const WITHOUT_CGROUPS: &str = "umount --lazy --recursive /sys/fs/cgroup && exec \"$@\"";

const fn row(wrong: &'static str, code: i32, says: &'static [&'static str], ask: fn(&Bench) -> Answer) -> Row {
    Row { wrong, ask, expected: Exit(code), says }
}

pub(super) const ROWS: &[Row] = &[
    row("missing model", 1, &["missing.onnx", "No such file"], |it| deploy(it, &paths::fixture("missing.onnx"))),
    row("corrupt model", 1, &["cannot be served", "rotobuf parsing failed"], |it| {
        deploy(it, &paths::fixture("corrupt.onnx"))
    }),
    row("truncated model", 1, &["cannot be served", "rotobuf parsing failed"], |it| {
        deploy(it, &paths::fixture("truncated.onnx"))
    }),
    row("unsupported opset", 1, &["cannot be served", "opset"], |it| {
        deploy(it, &paths::fixture("unsupported_opset.onnx"))
    }),
    row("unsupported operator", 1, &["cannot be served", "NoSuchOperator"], |it| {
        deploy(it, &paths::fixture("unsupported_op.onnx"))
    }),
    row("output that the protocol has no form for", 1, &["'list' is a Sequence"], |it| {
        deploy(it, &paths::fixture("sequence.onnx"))
    }),
    row("no model at all", 1, &["is no model", ".onnx"], |it| deploy(it, &paths::repository().join("README.md"))),
    row("directory without a model", 1, &["is no model", "model.onnx"], |it| {
        deploy(it, &paths::repository().join("docs"))
    }),
    row("name that is none", 2, &["Not-A-Name"], |it| {
        it.real.cli(&["deploy", paths::fixture("scalar.onnx").to_str().unwrap(), "--name", "Not-A-Name"]).into()
    }),
    row("manifest of another kind", 1, &["bad.yaml", "InferenceService"], |it| {
        manifest(it, "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: m\n")
    }),
    row("manifest that is no YAML", 1, &["bad.yaml"], |it| manifest(it, "a: [")),
    row("manifest of another protocol", 1, &["protocolVersion", "v1"], |it| {
        manifest(
            it,
            &dormouse_tests::daemon::manifest("m", &paths::fixture("scalar.onnx"), &[])
                .replace("protocolVersion: v2", "protocolVersion: v1"),
        )
    }),
    row("no such endpoint", 1, &["`nobody`"], |it| it.real.cli(&["delete", "nobody"]).into()),
    row("no daemon", 1, &["no daemon at", "dormouse daemon"], |_| real().cli(&["ls"]).into()),
    row("run directory in use", 1, &["another daemon runs in"], |it| it.real.home().cli(&["daemon"]).into()),
    row("run directory too long", 1, &["too long"], |_| {
        let home = real();
        daemon_in(&home.path().join("r".repeat(80)), &home)
    }),
    row("port taken", 1, &["is taken by another program", "--listen"], |it| {
        daemon(&real().set("gateway", "listen", &format!("\"{}\"", it.real.address())))
    }),
    row("address off loopback", 1, &["0.0.0.0:0", "auth = \"none\""], |_| {
        daemon(&real().set("gateway", "listen", "\"0.0.0.0:0\""))
    }),
    row("listener for administration", 1, &["dormouse.toml:", "unknown key `admin`"], |_| {
        daemon(&real().set("admin", "listen", "\"127.0.0.1:0\""))
    }),
    row("authentication that is not there", 1, &["dormouse.toml:", "`gateway.auth`", "`token`"], |_| {
        daemon(&real().set("gateway", "auth", "\"token\""))
    }),
    row("unknown configuration key", 1, &["dormouse.toml:", "unknown key `memory_budgt`", "`memory_budget`"], |_| {
        daemon(&real().set("node", "memory_budgt", "\"1Gi\""))
    }),
    row("configuration value out of bounds", 1, &["dormouse.toml:", "body_bytes_max", "out of bounds"], |_| {
        daemon(&real().set("gateway", "body_bytes_max", "1"))
    }),
    row("no ONNX Runtime library", 1, &["no ONNX Runtime library at /nonexistent", "onnxruntime"], |_| {
        daemon(&real().set("sandbox", "onnxruntime", "\"/nonexistent/libonnxruntime.so\""))
    }),
    row("something else for a library", 1, &["README.md"], |_| {
        daemon(&real().set("sandbox", "onnxruntime", &format!("{:?}", paths::repository().join("README.md"))))
    }),
    row("no such user", 1, &["no user `nobody-at-all`", "useradd"], |_| {
        daemon(&real().set("node", "user", "\"nobody-at-all\""))
    }),
    row("not root", 1, &["must be started as root"], |_| {
        daemon_through("setpriv", &["--reuid=65534", "--regid=65534", "--clear-groups"])
    }),
    row("no control groups", 1, &["no control groups are mounted", "mount -t cgroup2"], |_| {
        daemon_through("unshare", &["--mount", "sh", "-c", WITHOUT_CGROUPS, "sh"])
    }),
];

//! Who may do what: callers of the admin API, and the daemon's own processes.

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use dormouse_tests::{Connection, Daemon, Endpoint, Request, Script, Told, cli, paths, processes};
use serde_json::json;

use crate::{fake, real, silero};

const NOBODY: u32 = 65_534;
/// `[sandbox] uid_base`.
const CONTAINERS_BEGIN: u32 = 1_879_048_192;
const CONTAINERS_END: u32 = CONTAINERS_BEGIN + 65_536;

/// A number of /etc/passwd or /etc/group.
fn id_of(file: &str, name: &str) -> u32 {
    let text = fs::read_to_string(file).unwrap();
    let line = text.lines().find(|line| line.split(':').next() == Some(name));
    line.and_then(|line| line.split(':').nth(2)?.parse().ok()).unwrap_or_else(|| panic!("no {name} in {file}"))
}

fn admins() -> u32 {
    id_of("/etc/group", "dormouse-admin")
}

/// Runs the command line as somebody else.
fn run_as(daemon: &Daemon, program: &Path, uid: u32, gid: u32, arguments: &[&str]) -> Told {
    let mut command = Command::new("setpriv");
    command.args([format!("--reuid={uid}"), format!("--regid={gid}"), "--clear-groups".to_owned()]);
    command.arg(program).args(arguments).arg("--run").arg(daemon.home().run()).current_dir("/");
    cli::run(&mut command)
}

#[test]
fn the_admin_socket_is_for_root_and_one_group() {
    let daemon = fake().start();
    let program = daemon.home().public_program();
    daemon.deploy_fake("m", Script::echo(), &[]);
    let ls = |uid, gid| run_as(&daemon, &program, uid, gid, &["ls"]);

    assert!(ls(NOBODY, admins()).ok().stdout.contains("m "), "a member of the group");
    let reason = ls(NOBODY, NOBODY).failed(1);
    assert!(reason.contains("usermod -aG dormouse-admin"), "{reason}");
    for uid in [id_of("/etc/passwd", "dormouse"), CONTAINERS_BEGIN, CONTAINERS_END - 1] {
        let reason = ls(uid, admins()).failed(1);
        assert!(reason.contains(&format!("uid {uid}")) && reason.contains("may not administer"), "{reason}");
    }

    // The socket's mode is one line of defence; the kernel's word on who connected is another.
    let socket = daemon.home().run().join("admin.sock");
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o660);
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
    let reason = ls(NOBODY, NOBODY).failed(1);
    assert!(reason.contains("`nobody` is not in group `dormouse-admin`"), "{reason}");
    assert!(reason.contains("usermod -aG dormouse-admin nobody"), "{reason}");
}

#[test]
fn files_are_opened_with_the_callers_rights() {
    let daemon = fake().start();
    let program = daemon.home().public_program();
    let secret = daemon.home().write("secret/m.onnx", Script::echo().salt("secret").to_model());
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(secret.parent().unwrap(), fs::Permissions::from_mode(0o700)).unwrap();
    let path = secret.to_str().unwrap();

    let reason = run_as(&daemon, &program, NOBODY, admins(), &["deploy", path]).failed(1);
    assert!(reason.contains("cannot be opened: Permission denied"), "{reason}");
    assert!(daemon.admin("/v1/endpoints").json().as_array().unwrap().is_empty());

    // Root may read it; the daemon's node process may not, and need not.
    let _ = daemon.cli(&["deploy", path]).ok();
    Endpoint::of(&daemon, "m").check_echo(1);
}

#[test]
fn a_path_that_a_client_names_is_never_opened() {
    let daemon = fake().start();
    let order = |path: &str| {
        let endpoint = json!({ "name": "m" });
        Request::post("/v1/endpoints", json!({ "endpoint": endpoint, "files": [{ "path": path }] }).to_string())
    };
    let socket = daemon.home().run().join("admin.sock");
    for path in ["/etc/shadow", "model.onnx", "../../etc/shadow"] {
        let answer = Connection::to_socket(&socket).unwrap().send(&order(path));
        let error = answer.error(400);
        assert!(error.contains("1 files are named and 0 descriptors"), "{path}: {error}");
    }
    let unknown = Request::post("/v1/endpoints", r#"{"endpoint":{"name":"m"},"files":[],"path":"/etc/shadow"}"#);
    assert!(Connection::to_socket(&socket).unwrap().send(&unknown).error(400).contains("unknown field `path`"));
}

#[test]
fn nothing_that_faces_a_client_is_root() {
    let daemon = real().start();
    let endpoints = ["a", "b"].map(|name| daemon.deploy(name, &silero::model()));
    endpoints.iter().for_each(silero::call);
    assert_eq!(processes::uid(daemon.node_pid()), id_of("/etc/passwd", "dormouse"));
    let status = |pid: i32| fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        let none = format!("{set}:\t0000000000000000");
        assert!(status(daemon.node_pid()).contains(&none), "{set} of the node");
        for endpoint in &endpoints {
            assert!(status(endpoint.processes()[0]).contains(&none), "{set} of {}", endpoint.name);
        }
    }
    let uids: BTreeSet<u32> = endpoints.iter().map(|endpoint| processes::uid(endpoint.processes()[0])).collect();
    assert_eq!(uids.len(), endpoints.len(), "one each");
    assert!(uids.iter().all(|uid| (CONTAINERS_BEGIN + 1..CONTAINERS_END).contains(uid)), "{uids:?}");
}

#[test]
fn models_in_the_store_are_read_only() {
    let daemon = real().start();
    daemon.deploy("external", &paths::fixture("external"));
    let models = daemon.home().data().join("models");
    let model = fs::read_dir(models).unwrap().map(|entry| entry.unwrap().path()).find(|path| path.is_dir()).unwrap();
    assert_eq!(fs::metadata(&model).unwrap().permissions().mode() & 0o777, 0o555);
    for file in ["model.onnx", "weights.bin"] {
        assert_eq!(fs::metadata(model.join(file)).unwrap().permissions().mode() & 0o777, 0o444, "{file}");
    }
}

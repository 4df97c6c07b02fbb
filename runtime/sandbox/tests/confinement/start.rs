//! Daemons that refuse to start: each says why in one line, and leaves nothing.

use std::{net::TcpListener, path::PathBuf};

use dormouse_sandbox::instance::Instance;

use dormouse_driver::{
    daemon::{Daemon, NODE_USER, Settings},
    machine,
};

/// Starts a daemon that must not serve, and takes its line.
fn refusal(change: impl FnOnce(&mut Settings)) -> String {
    let mut daemon = Daemon::start_with(change);
    assert_eq!(daemon.wait(), 1, "{}", daemon.stderr());
    let text = daemon.stderr();
    // Unless another daemon has the directory, there is nothing that the next life would sweep.
    if let Ok(instance) = Instance::lock(&daemon.settings.run) {
        assert_eq!(machine::groups(&instance.cgroup_name()), [] as [PathBuf; 0], "{text}");
    }
    let [line] = <[&str; 1]>::try_from(text.lines().collect::<Vec<_>>()).unwrap_or_else(|_| panic!("{text}"));
    line.to_owned()
}

pub(crate) fn one_daemon_a_run_directory() {
    let mut daemon = Daemon::start();
    let node = daemon.node();
    let run = daemon.settings.run.clone();
    let line = refusal(|settings| settings.run.clone_from(&run));
    assert!(line.starts_with("another daemon runs in"), "{line}");
    assert!(run.join("admin.sock").exists(), "the first one's directory is untouched");
    daemon.end(node);
}

pub(crate) fn one_daemon_a_data_directory() {
    let mut daemon = Daemon::start();
    let node = daemon.node();
    let data = daemon.settings.data.clone();
    let unfinished = data.join("layers/.incoming-1");
    std::fs::create_dir(&unfinished).unwrap();
    let line = refusal(|settings| settings.data.clone_from(&data));
    assert!(line.contains("another daemon keeps its layers in") && line.contains("--data"), "{line}");
    assert!(unfinished.exists(), "the first one's layers are untouched");
    daemon.end(node);
}

pub(crate) fn uids_of_the_machine_are_not_taken() {
    // That of `nobody`.
    let line = refusal(|settings| settings.uid_base = 65_000);
    assert!(line.contains("overlaps") && line.contains("uid_base"), "{line}");
    let line = refusal(|settings| settings.image_id_base = settings.uid_base + settings.uid_count - 1);
    assert!(line.contains("image_id_base"), "{line}");
    let line = refusal(|settings| settings.uid_base = u32::MAX - 10);
    assert!(line.contains("uid range"), "{line}");
}

pub(crate) fn needs_root() {
    let line = refusal(|settings| settings.daemon_uid = Some(65_534));
    assert!(line.contains("root") && line.contains("sudo"), "{line}");
}

pub(crate) fn names_what_is_missing() {
    let line = refusal(|settings| settings.onnxruntime = "/nonexistent/libonnxruntime.so".into());
    assert!(line.contains("/nonexistent/libonnxruntime.so") && line.contains("onnxruntime"), "{line}");
    let line = refusal(|settings| settings.node_user = "no-such-user".to_owned());
    assert!(line.contains("useradd") && line.contains("no-such-user"), "{line}");
    let line = refusal(|settings| settings.node_user = "root".to_owned());
    assert!(line.contains("must not run as root"), "{line}");
    let line = refusal(|settings| settings.run = settings.run.join("a".repeat(64)));
    assert!(line.contains("too long"), "{line}");
    let line = refusal(|settings| settings.onnxruntime = "/etc/passwd".into());
    assert!(line.contains("/etc/passwd"), "{line}");
    assert_ne!(NODE_USER, "root");
}

pub(crate) fn a_taken_port_is_told() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let line = refusal(|settings| settings.listen = address);
    assert_eq!(
        line,
        format!("{address} is taken by another program: stop it, or choose another address with --listen")
    );
}

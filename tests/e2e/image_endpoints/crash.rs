//! Deploys of images that are cut short: by a daemon that is killed, by a disk that is full.

use std::{fs, process::Stdio};

use dormouse_tests::{Daemon, Endpoint, SmallDisk, Told, processes, wait::until_true};

use super::{ASK, IMAGE, ask, bring};
use crate::real;

/// An endpoint whose configuration is stored apart. What it says is what its page is.
fn manifest(level: &str, script: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: settings}}\ndata: {{level: {level}}}\n---\n\
         apiVersion: v1\nkind: Secret\nmetadata: {{name: keys}}\nstringData: {{token: {level}}}\n---\n\
         apiVersion: v1\nkind: Pod\nmetadata:\n  name: app\nspec:\n  containers:\n    - name: web\n      image: {IMAGE}\n      \
         command: [/bin/sh, -c, {script:?}]\n      volumeMounts: [{{name: settings, mountPath: /etc/app}}, \
         {{name: keys, mountPath: /run/keys}}]\n  volumes:\n    - {{name: settings, configMap: {{name: settings}}}}\n    \
         - {{name: keys, secret: {{secretName: keys}}}}\n"
    )
}

fn deploy(daemon: &Daemon, level: &str) -> Told {
    let file = daemon.home().write("app.yaml", manifest(level, ASK));
    daemon.cli(&["deploy", "-f", file.to_str().unwrap()])
}

/// What a replica finds in its files, and that they are of the revision that is told.
#[track_caller]
fn level(daemon: &Daemon) -> (String, u64) {
    let files = ask(daemon, "app", "cat /etc/app/level /run/keys/token; echo; cat /etc/app/level");
    let (both, one) = files.split_once('\n').unwrap();
    assert_eq!(both, one.repeat(2), "of one revision");
    (one.to_owned(), daemon.status("app")["revision"].as_u64().unwrap())
}

fn kept(daemon: &Daemon) -> usize {
    fs::read_dir(daemon.home().data().join("configs")).unwrap().count()
}

/// Kills the daemon once this is seen of a deploy of another level, and starts it again.
fn kill_when(daemon: Daemon, text: &str, what: &str, seen: impl Fn(&Daemon) -> bool) -> Daemon {
    let file = daemon.home().write("next.yaml", text);
    let mut deploying = daemon.command(&["deploy", "-f", file.to_str().unwrap()]);
    let mut deploying = deploying.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until_true(what, || seen(&daemon));
    let home = daemon.kill();
    deploying.wait().unwrap();
    home.start_again()
}

#[test]
fn a_deploy_that_is_killed_leaves_the_revision_before_or_the_next_and_nothing_else() {
    let daemon = real().start();
    bring(&daemon);
    let _ = deploy(&daemon, "first").ok();
    assert_eq!((level(&daemon), kept(&daemon)), (("first".to_owned(), 1), 2));
    let daemon = kill_when(daemon, &manifest("second", "sleep 1000"), "its files are laid out", |it| kept(it) > 2);
    assert_eq!((level(&daemon), kept(&daemon)), (("first".to_owned(), 1), 2));
    let daemon = kill_when(daemon, &manifest("second", "sleep 1000"), "it is tried", |it| {
        processes::control_groups(it.instance()).iter().any(|group| group.to_string_lossy().contains("/app-2-"))
    });
    assert_eq!((level(&daemon), kept(&daemon)), (("first".to_owned(), 1), 2));
    let written = |it: &Daemon| {
        let state = fs::read_to_string(it.home().data().join("endpoints/app.json")).unwrap();
        state.contains("\"revision\": 2")
    };
    let daemon = kill_when(daemon, &manifest("second", ASK), "it is written down", written);
    assert_eq!((level(&daemon), kept(&daemon)), (("second".to_owned(), 2), 2));
    Endpoint::of(&daemon, "app").delete();
    until_true("the files are gone with their endpoint", || kept(&daemon) == 0);
}

#[test]
fn a_full_disk_refuses_a_deploy_and_what_served_serves_on() {
    let home = real();
    let disk = SmallDisk::at(&home.data(), "size=200m");
    let daemon = home.start();
    bring(&daemon);
    let _ = deploy(&daemon, "first").ok();
    disk.fill();
    let told = deploy(&daemon, "second").failed(1);
    assert!(told.contains("No space left on device") || told.contains("too full"), "{told}");
    assert_eq!((level(&daemon), kept(&daemon)), (("first".to_owned(), 1), 2));
    let daemon = daemon.restart();
    assert_eq!((level(&daemon), kept(&daemon)), (("first".to_owned(), 1), 2));
    disk.free();
    let _ = deploy(&daemon, "second").ok();
    assert_eq!(level(&daemon), ("second".to_owned(), 2));
}

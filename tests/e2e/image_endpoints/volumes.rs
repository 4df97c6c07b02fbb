//! What a manifest gives a container beside its image: config maps, secrets, directories, a way out.

use dormouse_tests::{Daemon, Told, wait::until_true};

use super::{ASK, IMAGE, ask, bring};
use crate::real;

/// Nobody may be told this but the container.
const SECRET: &str = "hunter2-hunter2";

fn manifest(level: &str) -> String {
    format!(
        r#"
apiVersion: v1
kind: ConfigMap
metadata: {{ name: settings }}
data:
  LEVEL: {level}
  app.conf: |
    a = 1
---
apiVersion: v1
kind: Pod
metadata:
  name: app
  labels: {{ tier: edge }}
  annotations: {{ "dormouse.dev/network": egress, "dormouse.dev/min-replicas": "0" }}
spec:
  containers:
    - name: web
      image: {IMAGE}
      command: [/bin/sh, -c, {ASK:?}]
      envFrom: [{{ configMapRef: {{ name: settings }} }}]
      env:
        - {{ name: TOKEN, valueFrom: {{ secretKeyRef: {{ name: keys, key: token }} }} }}
        - {{ name: TIER, valueFrom: {{ fieldRef: {{ fieldPath: "metadata.labels['tier']" }} }} }}
      volumeMounts:
        - {{ name: settings, mountPath: /etc/app }}
        - {{ name: settings, mountPath: /www/app.conf, subPath: app.conf }}
        - {{ name: keys, mountPath: /run/keys }}
        - {{ name: disk, mountPath: /var/cache }}
        - {{ name: memory, mountPath: /scratch }}
  volumes:
    - {{ name: settings, configMap: {{ name: settings }} }}
    - {{ name: keys, secret: {{ secretName: keys }} }}
    - {{ name: disk, emptyDir: {{ sizeLimit: 8Mi }} }}
    - {{ name: memory, emptyDir: {{ medium: Memory, sizeLimit: 1Mi }} }}
---
apiVersion: v1
kind: Secret
metadata: {{ name: keys }}
stringData: {{ token: {SECRET} }}
"#
    )
}

fn deploy(daemon: &Daemon, text: String) -> Told {
    let file = daemon.home().write("app.yaml", text);
    daemon.cli(&["deploy", "-f", file.to_str().unwrap()])
}

/// Sets of files that lie where the spawner finds them.
fn kept(daemon: &Daemon) -> usize {
    std::fs::read_dir(daemon.home().data().join("configs")).unwrap().count()
}

#[test]
fn a_container_has_what_its_manifest_gives_it_and_nobody_else_a_secret() {
    let daemon = real().start();
    bring(&daemon);
    let told = deploy(&daemon, manifest("info")).ok();
    assert_eq!(ask(&daemon, "app", "echo $LEVEL $TOKEN $TIER"), format!("info {SECRET} edge\n"));
    assert_eq!(
        ask(&daemon, "app", "cat /etc/app/app.conf /www/app.conf /run/keys/token"),
        format!("a = 1\na = 1\n{SECRET}")
    );
    assert_eq!(
        ask(&daemon, "app", "stat -c %a /run/keys/token /etc/app/app.conf /var/cache /scratch"),
        "400\n444\n777\n777\n"
    );
    assert_eq!(ask(&daemon, "app", "touch /etc/app/new 2>/dev/null || echo closed"), "closed\n");
    assert_eq!(
        ask(&daemon, "app", "grep -E -o ' (/var/cache|/scratch) (ext4|tmpfs)' /proc/mounts"),
        " /scratch tmpfs\n /var/cache ext4\n"
    );
    assert_eq!(ask(&daemon, "app", "ip -o link | wc -l; cat /etc/resolv.conf"), "2\nnameserver 10.0.2.3\n");

    let shown = [
        told.stdout,
        told.stderr,
        daemon.cli(&["status", "app"]).ok().stdout,
        daemon.cli(&["status", "app", "--json"]).ok().stdout,
        daemon.cli(&["ls", "--json"]).ok().stdout,
        daemon.cli(&["why", "app"]).stdout,
        daemon.cli(&["logs", "app"]).stdout,
        daemon.log(),
        command_lines(),
    ];
    for shown in shown {
        assert!(!shown.contains(SECRET), "{shown}");
    }

    // A deploy with other contents is another revision, and nothing of the one before is kept.
    assert_eq!(kept(&daemon), 3);
    let _ = deploy(&daemon, manifest("debug")).ok();
    assert_eq!(ask(&daemon, "app", "cat /etc/app/LEVEL; echo; echo $LEVEL"), "debug\ndebug\n");
    until_true("the files of the first revision are gone", || kept(&daemon) == 3);
    // What is written down is enough for a start.
    let daemon = daemon.restart();
    assert_eq!(ask(&daemon, "app", "cat /etc/app/LEVEL /run/keys/token"), format!("debug{SECRET}"));
    let _ = daemon.cli(&["delete", "app"]).ok();
    until_true("the files are gone with their endpoint", || kept(&daemon) == 0);
}

/// Of every process of the machine.
fn command_lines() -> String {
    let processes = std::fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path().join("cmdline"));
    processes
        .filter_map(|path| std::fs::read(path).ok())
        .map(|line| String::from_utf8_lossy(&line).into_owned())
        .collect()
}

#[test]
fn what_the_node_lends_is_mounted() {
    let lent = tempfile::tempdir().unwrap();
    std::fs::write(lent.path().join("model"), "weights").unwrap();
    std::os::unix::fs::chown(lent.path(), Some(4321), Some(4321)).unwrap();
    let path = lent.path().display().to_string();
    let text = format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: app\nspec:\n  containers:\n    - name: web\n      image: {IMAGE}\n      \
         command: [/bin/sh, -c, {ASK:?}]\n      volumeMounts:\n        - {{name: host, mountPath: /mnt/models, readOnly: true}}\n        \
         - {{name: file, mountPath: /etc/model, readOnly: true}}\n  volumes:\n    - {{name: host, hostPath: {{path: {path}}}}}\n    \
         - {{name: file, hostPath: {{path: {path}/model, type: File}}}}\n"
    );
    let daemon = real().start();
    bring(&daemon);
    let refused = deploy(&daemon, text.clone());
    assert!(refused.stderr.contains("host_paths"), "{}", refused.stderr);
    drop(daemon);

    let daemon = real().set("sandbox", "host_paths", &format!("[{{ path = {path:?}, read_only = true }}]")).start();
    bring(&daemon);
    let _ = deploy(&daemon, text).ok();
    assert_eq!(ask(&daemon, "app", "cat /mnt/models/model /etc/model"), "weightsweights");
}

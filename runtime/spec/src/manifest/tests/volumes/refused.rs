//! What is refused of volumes and of where they are mounted.

use super::super::{container::POD, not_honoured::check, objects::OBJECTS, *};
use crate::VOLUME_BYTES_MAX;

const REFUSED: &[(&str, &str, &str, &str)] = &[
    ("", "volumes: [{emptyDir: {}}]", ".volumes[0]", "`name` is missing"),
    ("", "volumes: [{name: A}]", ".volumes[0].name", "1 to 63"),
    ("", "volumes: [{name: a}, {name: a}]", ".volumes[1].name", "two volumes"),
    ("", "volumes: [{name: a, emptyDir: {}, hostPath: {path: /a}}]", ".volumes[0].hostPath", "a `emptyDir` too"),
    ("", "volumes: [{name: a, emptydir: {}}]", ".volumes[0].emptydir", "did you mean `emptyDir`?"),
    ("", "volumes: [{name: a, persistentVolumeClaim: {claimName: b}}]", ".persistentVolumeClaim", "write `hostPath`"),
    ("", "volumes: [{name: a, nfs: {server: b}}]", ".volumes[0].nfs", "mount it on the node"),
    ("", "volumes: [{name: a, emptyDir: {medium: HugePages}}]", ".volumes[0].emptyDir.medium", "ordinary pages"),
    ("", "volumes: [{name: a, emptyDir: {medium: HugePages-2Mi}}]", ".volumes[0].emptyDir.medium", "ordinary pages"),
    ("", "volumes: [{name: a, emptyDir: {sizeLimit: 1GB}}]", ".emptyDir.sizeLimit", "not a memory quantity"),
    ("", "volumes: [{name: a, hostPath: {}}]", ".volumes[0].hostPath", "`path` is missing"),
    ("", "volumes: [{name: a, hostPath: {path: srv}}]", ".hostPath.path", "not absolute"),
    ("", "volumes: [{name: a, hostPath: {path: /}}]", ".hostPath.path", "the root itself"),
    ("", "volumes: [{name: a, hostPath: {path: /a/../b}}]", ".hostPath.path", "`..`"),
    ("", "volumes: [{name: a, hostPath: {path: /a, type: DirectoryOrCreate}}]", ".hostPath.type", "nothing is made"),
    ("", "volumes: [{name: a, hostPath: {path: /a, type: FileOrCreate}}]", ".hostPath.type", "make the file"),
    ("", "volumes: [{name: a, hostPath: {path: /a, type: Socket}}]", ".hostPath.type", "only directories and files"),
    (
        "volumeMounts: [{name: a, mountPath: /a, subPath: b}]",
        "volumes: [{name: a, hostPath: {path: /a, type: File}}]",
        ".subPath",
        "nothing below it",
    ),
    (
        "volumeMounts: [{name: a, mountPath: /a}, {name: b, mountPath: /a/b}]",
        "volumes: [{name: a, hostPath: {path: /a, type: File}}, {name: b}]",
        ".volumeMounts[1].mountPath",
        "`a` is a file",
    ),
    ("", "volumes: [{name: a, configMap: {}}]", ".volumes[0].configMap", "`name` is missing"),
    ("", "volumes: [{name: a, configMap: {name: b}}]", ".configMap.name", "no ConfigMap of this name"),
    ("", "volumes: [{name: a, secret: {name: b}}]", ".volumes[0].secret", "`secretName` is missing"),
    ("", "volumes: [{name: a, secret: {secretName: b}}]", ".secret.secretName", "no Secret of this name"),
    ("", "volumes: [{name: a, secret: {secretName: b, defaultMode: 512}}]", ".secret.defaultMode", "from 0 to 0777"),
    ("", "volumes: [{name: a, secret: {secretName: b, defaultMode: '0400'}}]", ".secret.defaultMode", "a whole number"),
    ("", "volumes: [{name: a, secret: {secretName: b, defaultMod: 1}}]", ".secret.defaultMod", "did you mean"),
    (
        "",
        "volumes: [{name: a, secret: {secretName: b, optional: true, items: [{key: a, path: ../a}]}}]",
        ".items[0].path",
        "begins with `..`",
    ),
    (
        "",
        "volumes: [{name: a, secret: {secretName: b, optional: true, items: [{key: a, path: /a}]}}]",
        ".items[0].path",
        "no path within a volume",
    ),
    (
        "",
        "volumes: [{name: a, secret: {secretName: b, optional: true, items: [{key: a, path: a, mode: 0o1777}]}}]",
        ".items[0].mode",
        "from 0 to 0777",
    ),
    ("", "volumes: [{name: a, projected: {sources: [{}]}}]", ".sources[0]", "write one of configMap"),
    (
        "",
        "volumes: [{name: a, projected: {sources: [{serviceAccountToken: {path: a}}]}}]",
        ".sources[0].serviceAccountToken",
        "write a Secret",
    ),
    (
        "",
        "volumes: [{name: a, projected: {sources: [{configMap: {name: a}, secret: {name: a}}]}}]",
        ".sources[0].secret",
        "write two",
    ),
    ("", "volumes: [{name: a, downwardAPI: {items: [{path: a}]}}]", ".items[0]", "write `fieldRef` or"),
    (
        "",
        "volumes: [{name: a, downwardAPI: {items: [{path: a, resourceFieldRef: {resource: limits.cpu}}]}}]",
        ".items[0].resourceFieldRef",
        "`containerName` is missing",
    ),
    (
        "",
        "volumes: [{name: a, downwardAPI: {items: [{path: a, fieldRef: {fieldPath: metadata.namespace}}, {path: a/b, fieldRef: \
         {fieldPath: metadata.namespace}}]}}]",
        ".items[1].path",
        "another file at this path, `b`",
    ),
    (
        "",
        "volumes: [{name: a, downwardAPI: {items: [{path: a/b, fieldRef: {fieldPath: metadata.namespace}}, {path: a, fieldRef: \
         {fieldPath: metadata.namespace}}]}}]",
        ".items[1].path",
        "another file at this path, `a`",
    ),
    ("volumeMounts: [{name: a, mountPath: /tmp}]", "", ".volumeMounts[0].name", "no volume of this name"),
    ("volumeMounts: [{name: a, mountPath: srv}]", "volumes: [{name: a}]", ".mountPath", "not absolute"),
    ("volumeMounts: [{name: a, mountPath: /}]", "volumes: [{name: a}]", ".mountPath", "the root itself"),
    ("volumeMounts: [{name: a, mountPath: /proc/sys}]", "volumes: [{name: a}]", ".mountPath", "/proc and /sys"),
    ("volumeMounts: [{name: a, mountPath: /sys}]", "volumes: [{name: a}]", ".mountPath", "/proc and /sys"),
    ("volumeMounts: [{name: a, mountPath: /dev}]", "volumes: [{name: a}]", ".mountPath", "only /dev/shm"),
    ("volumeMounts: [{name: a, mountPath: /dev/shm}]", "volumes: [{name: a}]", ".mountPath", "`medium: Memory`"),
    (
        "volumeMounts: [{name: a, mountPath: /dev/shm/a}]",
        "volumes: [{name: a, emptyDir: {medium: Memory}}]",
        ".mountPath",
        "only /dev/shm",
    ),
    (
        "volumeMounts: [{name: a, mountPath: /a}, {name: a, mountPath: /b}]",
        "volumes: [{name: a}]",
        ".volumeMounts[1].name",
        "not yet in two",
    ),
    (
        "volumeMounts: [{name: a, mountPath: /a}, {name: b, mountPath: /a/}]",
        "volumes: [{name: a}, {name: b}]",
        ".volumeMounts[1].mountPath",
        "`a` is mounted there too",
    ),
    ("volumeMounts: [{name: a, mountPath: /a, subPath: b}]", "volumes: [{name: a}]", ".subPath", "one of its own"),
    ("volumeMounts: [{name: a, mountPath: /a, subPathExpr: b}]", "volumes: [{name: a}]", ".subPathExpr", "`subPath`"),
    (
        "volumeMounts: [{name: a, mountPath: /a, mountPropagation: Bidirectional}]",
        "volumes: [{name: a}]",
        ".mountPropagation",
        "not handed on",
    ),
    (
        "volumeMounts: [{name: a, mountPath: /a, recursiveReadOnly: Enabled}]",
        "volumes: [{name: a}]",
        ".recursiveReadOnly",
        "write `readOnly`",
    ),
    (
        "volumeMounts: [{name: a, mountPath: /a, subPath: ../b}]",
        "volumes: [{name: a, hostPath: {path: /a}}]",
        ".subPath",
        "no path within a volume",
    ),
    (
        "volumeMounts: [{name: a, mountPath: /a, subPath: b}]",
        "volumes: [{name: a, secret: {secretName: b, optional: true}}]",
        ".subPath",
        "no file of this path",
    ),
];

#[test]
fn what_cannot_be_honoured_is_an_error_that_names_the_field() {
    check(REFUSED);
}

#[test]
fn a_mount_and_a_file_are_not_at_one_place() {
    let volumes = "{name: c, configMap: {name: settings.v1, items: [{key: LEVEL, path: d/e}]}}, {name: a}";
    let fails = |mounts: &str| {
        let text = POD.with(&format!("volumeMounts: [{mounts}]"), &format!("volumes: [{volumes}]"));
        parse(&format!("{text}---\n{OBJECTS}")).map(|_| ()).map_err(|error| error.to_string())
    };
    for inner in ["/c/d", "/c/f", "/c/d/f"] {
        assert_eq!(fails(&format!("{{name: c, mountPath: /c}}, {{name: a, mountPath: {inner}}}")), Ok(()));
    }
    for (mounts, reason) in [
        ("{name: a, mountPath: /c/d/e}, {name: c, mountPath: /c}", "[0].mountPath: not supported: the file `e` of `c`"),
        (
            "{name: c, mountPath: /c}, {name: a, mountPath: /c/d/e/f}",
            "[1].mountPath: not supported: the file `e` of `c`",
        ),
        (
            "{name: c, mountPath: /c}, {name: c, mountPath: /c/d, subPath: d/e}",
            "[1].mountPath: not supported: the file `e`",
        ),
        (
            "{name: c, mountPath: /c, subPath: d/e}, {name: a, mountPath: /c/f}",
            "[1].mountPath: not supported: `c` is a file",
        ),
    ] {
        let error = fails(mounts).unwrap_err();
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn what_objects_have_not_and_what_two_have_is_an_error() {
    for (source, path, reason) in [
        (
            "secret: {secretName: settings.v1, items: [{key: none, path: a}]}",
            "items[0].key",
            "the Secret has no such key",
        ),
        (
            "projected: {sources: [{configMap: {name: settings.v1}}, {configMap: {name: settings.v1}}]}",
            "sources[1].configMap",
            "another file at this path, `LEVEL`",
        ),
        (
            "configMap: {name: settings.v1, items: [{key: LEVEL, path: a}, {key: blob, path: a}]}",
            "items[1].path",
            "another file at this path, `a`",
        ),
    ] {
        let text = format!("{}---\n{OBJECTS}", POD.with("", &format!("volumes: [{{name: a, {source}}}]")));
        let error = parse(&text).unwrap_err().to_string();
        assert!(error.contains(path) && error.contains(reason), "{error}");
    }
}

#[test]
fn few_bytes_do_not_become_many_files() {
    let object = |bytes: usize| {
        let text = "x".repeat(bytes);
        format!("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\ndata: {{k: {text}}}\n")
    };
    let items = |count: usize| -> String { (0..count).map(|item| format!("{{key: k, path: p{item}}}, ")).collect() };
    let volume = |count| format!("volumes: [{{name: a, configMap: {{name: a, items: [{}]}}}}]", items(count));
    let fails = |bytes, mounts: &str, pod: &str| {
        let error = parse(&format!("{}{}", POD.with(mounts, pod), object(bytes))).map(|_| ()).unwrap_err().to_string();
        assert!(error.len() < 300, "{error}");
        error
    };
    assert!(fails(VOLUME_BYTES_MAX / 10, "", &volume(11)).contains("more than 1048576 bytes together"));
    assert!(fails(1, "", &volume(1_025)).contains("there are 1025, more than 1024"));
    let mounts =
        |count: usize| -> String { (0..count).map(|at| format!("{{name: a, mountPath: /m{at}}}, ")).collect() };
    let often = format!("volumeMounts: [{}]", mounts(11));
    assert!(fails(VOLUME_BYTES_MAX / 10, &often, &volume(1)).contains("more than 1048576 bytes together"));
    let many = format!("volumeMounts: [{}]", mounts(65));
    assert!(fails(1, &many, &volume(1)).contains("there are 65, more than 64"));
    let volumes: String = (0..65).map(|name| format!("{{name: a{name}}}, ")).collect();
    assert!(fails(1, "", &format!("volumes: [{volumes}]")).contains("there are 65, more than 64"));
}

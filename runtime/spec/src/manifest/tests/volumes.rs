//! Volumes and where they are mounted.

mod refused;

use super::{
    container::{FORMS, POD},
    objects::OBJECTS,
    *,
};
use crate::{HostPathType, Medium, Volume, VolumeMount};

/// The mounts of a container whose pod has these volumes, beside the objects.
fn mounts(mounts: &str, volumes: &str) -> Vec<VolumeMount> {
    let all = FORMS.map(|form| {
        let text = form.with(&format!("volumeMounts: [{mounts}]"), &format!("volumes: [{volumes}]"));
        only(&format!("{text}---\n{OBJECTS}")).endpoint.container.unwrap().volume_mounts
    });
    let [first, second, third] = all;
    assert!(first == second && second == third, "the same in all kinds");
    first
}

/// What one volume is, mounted at a place of its own.
fn volume(source: &str) -> Volume {
    let mut mounts = mounts("{name: a, mountPath: /srv/a}", &format!("{{name: a, {source}}}"));
    assert_eq!(mounts.len(), 1);
    mounts.remove(0).volume
}

/// Paths, modes and contents of files.
fn listed(volume: &Volume) -> Vec<(&str, u32, &[u8])> {
    let files = match volume {
        Volume::Files { files } => files.as_slice(),
        Volume::File { file } => std::slice::from_ref(file),
        other => panic!("{other:?}"),
    };
    files.iter().map(|file| (file.path.as_str(), file.mode, file.contents.bytes())).collect()
}

#[test]
fn directories_are_empty_or_the_nodes() {
    let empty =
        |medium, mebibytes: Option<u64>| Volume::EmptyDir { medium, size_limit: mebibytes.map(Bytes::from_mebibytes) };
    let host = |path: &str, r#type| Volume::HostPath { path: path.parse().unwrap(), r#type };
    for (source, expected) in [
        ("", empty(Medium::Disk, None)),
        ("emptyDir: {}", empty(Medium::Disk, None)),
        ("emptyDir: {medium: '', sizeLimit: 5Mi}", empty(Medium::Disk, Some(5))),
        ("emptyDir: {medium: Memory, sizeLimit: 1Gi}", empty(Medium::Memory, Some(1_024))),
        ("emptyDir: {sizeLimit: 0}", empty(Medium::Disk, None)),
        ("hostPath: {path: /srv//models/}", host("/srv/models", HostPathType::Any)),
        ("hostPath: {path: /srv, type: ''}", host("/srv", HostPathType::Any)),
        ("hostPath: {path: /srv, type: Directory}", host("/srv", HostPathType::Directory)),
        ("hostPath: {path: /etc/localtime, type: File}", host("/etc/localtime", HostPathType::File)),
    ] {
        assert_eq!(volume(source), expected, "{source}");
    }
}

#[test]
fn what_objects_hold_are_files() {
    for (source, expected) in [
        (
            "configMap: {name: settings.v1}",
            &[("LEVEL", 0o444, &b"info"[..]), ("app.conf", 0o444, b"verbose = true\n"), ("blob", 0o444, b"\xff\0\xfe")]
                [..],
        ),
        (
            "configMap: {name: settings.v1, defaultMode: 0555, items: [{key: blob, path: a/b}, {key: LEVEL, path: c, mode: 256}]}",
            &[("a/b", 0o555, b"\xff\0\xfe"), ("c", 0o400, b"info")],
        ),
        (
            "secret: {secretName: settings.v1}",
            &[("1st", 0o400, b"a"), ("TOKEN", 0o400, b"hunter2"), ("both", 0o400, b"new"), ("raw", 0o400, b"\xff")],
        ),
        (
            "secret: {secretName: settings.v1, defaultMode: 0o440, items: [{key: both, path: a}, {key: none, path: b}], optional: true}",
            &[("a", 0o440, b"new")],
        ),
        ("secret: {secretName: none, optional: true}", &[]),
        ("configMap: {name: none, optional: true, items: [{key: a, path: a}]}", &[]),
        (
            "projected: {sources: [{secret: {name: settings.v1, items: [{key: both, path: s}]}}, {configMap: {name: settings.v1, \
             items: [{key: LEVEL, path: c}]}}, {downwardAPI: {items: [{path: ns, fieldRef: {fieldPath: metadata.namespace}}]}}]}",
            &[("s", 0o400, b"new"), ("c", 0o444, b"info"), ("ns", 0o444, b"vision")],
        ),
        (
            "projected: {defaultMode: 0600, sources: [{secret: {name: settings.v1, items: [{key: both, path: s}, {key: raw, path: \
             r, mode: 0}]}}]}",
            &[("s", 0o600, b"new"), ("r", 0, b"\xff")],
        ),
        ("projected: {sources: []}", &[]),
    ] {
        assert_eq!(listed(&volume(source)), expected, "{source}");
    }
}

#[test]
fn what_a_pod_says_of_itself_are_files() {
    let items = "[{path: labels, fieldRef: {fieldPath: metadata.labels}}, {path: d/one, mode: 0400, fieldRef: {fieldPath: \
                 \"metadata.labels['app']\"}}, {path: cpu, resourceFieldRef: {containerName: main, resource: limits.cpu, \
                 divisor: 1m}}]";
    let text = POD
        .with(
            "resources: {limits: {cpu: 2}}\nvolumeMounts: [{name: a, mountPath: /a}]",
            &format!("volumes: [{{name: a, downwardAPI: {{defaultMode: 292, items: {items}}}}}]"),
        )
        .replace("annotations: {", "labels: {b: 'x\"y', app: web}, annotations: {");
    let mounts = only(&text).endpoint.container.unwrap().volume_mounts;
    assert_eq!(
        listed(&mounts[0].volume),
        [("labels", 0o444, &b"app=\"web\"\nb=\"x\\\"y\""[..]), ("d/one", 0o400, b"web"), ("cpu", 0o444, b"2000")]
    );
}

#[test]
fn a_part_of_a_volume_is_mounted_by_its_sub_path() {
    let settings =
        "{name: a, configMap: {name: settings.v1, items: [{key: LEVEL, path: d/e/f}, {key: blob, path: d/g}]}}";
    let part = |sub_path: &str, volume: &str| {
        mounts(&format!("{{name: a, mountPath: /srv/a, subPath: {sub_path}}}"), volume).remove(0).volume
    };
    let file = part("d/g", settings);
    assert!(matches!(file, Volume::File { .. }));
    assert_eq!(listed(&file), [("d/g", 0o444, &b"\xff\0\xfe"[..])]);
    assert_eq!(listed(&part("d/", settings)), [("e/f", 0o444, &b"info"[..]), ("g", 0o444, b"\xff\0\xfe")]);
    assert_eq!(listed(&part("''", settings)).len(), 2);
    assert_eq!(
        part("b/c", "{name: a, hostPath: {path: /srv, type: Directory}}"),
        Volume::HostPath { path: "/srv/b/c".parse().unwrap(), r#type: HostPathType::Any }
    );
}

#[test]
fn mounts_are_ordered_from_the_outside_in() {
    let mounts = mounts(
        "{name: a, mountPath: /srv/a/b/c}, {name: s, mountPath: /srv/a/b}, {name: h, mountPath: /srv, readOnly: true}, \
         {name: s, mountPath: /etc/token, subPath: TOKEN}, {name: h, mountPath: /opt/}, {name: m, mountPath: /dev/shm}",
        "{name: a}, {name: m, emptyDir: {medium: Memory}}, {name: h, hostPath: {path: /h}}, {name: s, secret: {secretName: settings.v1}}",
    );
    let at: Vec<_> = mounts.iter().map(|mount| (mount.mount_path.as_str(), mount.read_only)).collect();
    let expected = [
        ("/srv", true),
        ("/opt", false),
        ("/etc/token", true),
        ("/dev/shm", false),
        ("/srv/a/b", true),
        ("/srv/a/b/c", false),
    ];
    assert_eq!(at, expected);
}

#[test]
fn a_container_that_mounts_survives_json() {
    let text = POD.with(
        "volumeMounts: [{name: s, mountPath: /s}, {name: s, mountPath: /t, subPath: raw}, {name: h, mountPath: /h}, {name: f, mountPath: /f}]",
        "volumes: [{name: s, secret: {secretName: settings.v1}}, {name: h, hostPath: {path: /h}}, {name: f, hostPath: {path: /f, type: \
         File}}]",
    );
    let endpoint = only(&format!("{text}---\n{OBJECTS}")).endpoint;
    let written = serde_json::to_string(&endpoint).unwrap();
    assert_eq!(serde_json::from_str::<EndpointRequest>(&written).unwrap(), endpoint);
}

proptest! {
    #[test]
    fn no_truncation_makes_it_panic(end in 0..2_500_usize) {
        let example = include_str!("../../../../../configs/endpoints/config-and-secret.yaml");
        let _ = parse(example.get(..end).unwrap_or(example));
    }

    #[test]
    fn no_line_left_out_makes_it_panic(without in 0..90_usize) {
        let example = include_str!("../../../../../configs/endpoints/config-and-secret.yaml");
        let lines = example.lines().enumerate().filter(|(index, _)| *index != without).map(|(_, line)| line);
        let _ = parse(&lines.collect::<Vec<_>>().join("\n"));
    }
}

//! What is refused or noted of a pod and its container, the same in all three kinds.

use super::{container::FORMS, *};

/// Each row: what is added to the container and beside it, the path the error names, and words of its reason.
const REFUSED: &[(&str, &str, &str, &str)] = &[
    ("", "- image: a", ".containers[1]", "one container"),
    ("", "initContainers: [{image: a}]", ".initContainers", "not yet"),
    ("", "restartPolicy: Never", ".restartPolicy", "always started again"),
    ("", "restartPolicy: OnFailure", ".restartPolicy", "always started again"),
    ("", "hostNetwork: true", ".hostNetwork", "namespaces of its own"),
    ("", "os: {name: windows}", ".os.name", "Linux"),
    ("", "terminationGracePeriodSeconds: -1", ".terminationGracePeriodSeconds", "out of range"),
    ("", "toleration: 1", ".toleration", "did you mean `tolerations`?"),
    ("", "securityContext: {fsgroup: 1}", ".securityContext.fsgroup", "did you mean `fsGroup`?"),
    ("", "securityContext: {supplementalGroups: [1]}", ".supplementalGroups", "others not yet"),
    ("", "securityContext: {runAsNonRoot: true, runAsUser: 0}", ".securityContext.runAsUser", "is root"),
    ("comand: [a]", "", ".containers[0].comand", "did you mean `command`?"),
    ("command: a", "", ".containers[0].command", "expected a list, found text"),
    ("command: [1]", "", ".containers[0].command[0]", "in quotes"),
    ("args: [\"a\\0\"]", "", ".containers[0].args[0]", "NUL"),
    ("env: [{name: A, value: 1}]", "", ".env[0].value", "in quotes"),
    ("env: [{value: a}]", "", ".env[0]", "`name` is missing"),
    ("env: [{name: A=B, value: a}]", "", ".env[0].name", "a variable has a name"),
    ("env: [{name: A, valeu: a}]", "", ".env[0].valeu", "did you mean `value`?"),
    ("env: [{name: K_SERVICE, value: a}]", "", ".env[0].name", "every container is given it"),
    ("workingDir: srv", "", ".containers[0].workingDir", "not absolute"),
    ("ports: [{containerPort: 1}, {containerPort: 2}]", "", ".ports[1]", "one port"),
    ("ports: [{containerPort: 0}]", "", ".ports[0].containerPort", "from 1 to 65535"),
    ("ports: [{containerPort: 65536}]", "", ".ports[0].containerPort", "from 1 to 65535"),
    ("ports: [{containerPort: 1, protocol: UDP}]", "", ".ports[0].protocol", "over TCP"),
    ("ports: [{containerPort: 1, appProtocol: kubernetes.io/ws}]", "", ".ports[0].appProtocol", "are spoken"),
    ("resources: {limits: {memory: 1Gi}, requests: {memory: 2Gi}}", "", ".requests.memory", "more than the limit"),
    ("resources: {limits: {cpu: 1}, requests: {cpu: 1.5}}", "", ".requests.cpu", "more than the limit"),
    ("resources: {requests: {memory: x}}", "", ".requests.memory", "not a memory quantity"),
    ("resources: {limits: {nvidia.com/gpu: 1}}", "", ".limits[nvidia.com/gpu]", "no devices"),
    ("securityContext: {runAsUser: 65536}", "", ".runAsUser", "from 0 to 65535"),
    ("securityContext: {runAsUser: root}", "", ".runAsUser", "a whole number"),
    ("securityContext: {privileged: true}", "", ".privileged", "no replica is privileged"),
    ("securityContext: {capabilities: {add: [CHOWN, NET_ADMIN]}}", "", ".capabilities.add[1]", "never more"),
    ("securityContext: {capabilities: {added: []}}", "", ".capabilities.added", "no such field"),
    ("securityContext: {readOnlyRootFilesystem: 'yes'}", "", ".readOnlyRootFilesystem", "expected true or false"),
    ("securityContext: {runAsUser: 0}", "securityContext: {runAsNonRoot: true}", ".runAsUser", "is root"),
    ("readinessProbe: {exec: {}}", "", ".readinessProbe.exec", "is missing"),
    ("readinessProbe: {exec: {command: []}}", "", ".readinessProbe.exec.command", "a program"),
    ("livenessProbe: {exec: {command: ['', a]}}", "", ".livenessProbe.exec.command", "a program"),
    ("livenessProbe: {exec: {command: [a, \"\\0\"]}}", "", ".livenessProbe.exec.command[1]", "NUL"),
    ("livenessProbe: {exec: {command: [a, 1]}}", "", ".livenessProbe.exec.command[1]", "in quotes"),
    ("livenessProbe: {exec: {command: [a]}, httpGet: {}}", "", ".livenessProbe.exec", "`httpGet` too"),
    ("livenessProbe: {grpc: {}}", "", ".livenessProbe.grpc", "is missing"),
    ("livenessProbe: {grpc: {port: web}}", "", ".livenessProbe.grpc.port", "a whole number"),
    ("livenessProbe: {grpc: {port: 1}, tcpSocket: {}}", "", ".livenessProbe.grpc", "`tcpSocket` too"),
    ("livenessProbe: {successThreshold: 2}", "", ".livenessProbe.successThreshold", "one look"),
    ("livenessProbe: {failureThreshold: 0}", "", ".livenessProbe.failureThreshold", "at least 1"),
    ("readinessProbe: {failureThreshold: 0}", "", ".readinessProbe.failureThreshold", "at least 1"),
    ("readinessProbe: {httpGet: {scheme: HTTPS}}", "", ".httpGet.scheme", "only HTTP"),
    ("readinessProbe: {httpGet: {host: a}}", "", ".httpGet.host", "the replica itself"),
    ("readinessProbe: {httpGet: {path: /a b}}", "", ".httpGet.path", "`%20`"),
    ("readinessProbe: {httpGet: {port: web}}", "", ".httpGet.port", "no port of this name"),
    ("readinessProbe: {httpGet: {port: 0}}", "", ".httpGet.port", "from 1 to 65535"),
    ("readinessProbe: {httpGet: {httpHeaders: [{name: 'a b'}]}}", "", ".httpHeaders[0].name", "no header"),
    ("readinessProbe: {httpGet: {httpHeaders: [{name: a, value: \"\\r\"}]}}", "", ".httpHeaders[0].value", "ASCII"),
    ("readinessProbe: {httpGet: {}, tcpSocket: {}}", "", ".readinessProbe.tcpSocket", "`httpGet` too"),
    ("readinessProbe: {periodSeconds: -1}", "", ".readinessProbe.periodSeconds", "from 0 to a year"),
    ("startupProbe: {successThreshold: 2}", "", ".startupProbe.successThreshold", "starts once"),
    (
        "startupProbe: {periodSeconds: 31622400, failureThreshold: 2}",
        "",
        ".containers[0].startupProbe",
        "more than a year",
    ),
    ("lifecycle: {postStart: {exec: {command: [a]}}}", "", ".lifecycle.postStart", "not yet"),
];

#[test]
fn what_cannot_be_honoured_is_an_error_that_names_the_field() {
    check(REFUSED);
}

/// That of each row there is an error, in all kinds of manifests.
pub(super) fn check(refused: &[(&str, &str, &str, &str)]) {
    for form in FORMS {
        for (container, pod, path, reason) in refused {
            let text = form.with(container, pod);
            let error = parse(&text).unwrap_err();
            let ManifestError::Field { at, path: named, .. } = &error else { panic!("{container}{pod}: {error}") };
            assert!(named.starts_with(form.path) && named.ends_with(path), "{container}{pod}: {error}");
            assert!(error.to_string().contains(reason), "{container}{pod}: {error}");
            let line = text.lines().nth(usize::try_from(at.line).unwrap() - 1).unwrap();
            assert!([container, pod].iter().any(|lines| lines.contains(line.trim())), "{error}: `{line}`");
        }
    }
}

#[test]
fn real_fields_that_are_not_honoured_are_noted() {
    for (container, pod, path) in [
        ("imagePullPolicy: Always", "", ".containers[0].imagePullPolicy"),
        (
            "livenessProbe: {terminationGracePeriodSeconds: 1}",
            "",
            ".containers[0].livenessProbe.terminationGracePeriodSeconds",
        ),
        (
            "resources: {limits: {memory: 1Gi}, requests: {cpu: 1, memory: 1Gi}}",
            "",
            ".containers[0].resources.requests",
        ),
        ("resources: {limits: {hugepages-2Mi: 4Mi}}", "", ".containers[0].resources.limits.hugepages-2Mi"),
        (
            "securityContext: {allowPrivilegeEscalation: true}",
            "",
            ".containers[0].securityContext.allowPrivilegeEscalation",
        ),
        ("ports: [{containerPort: 1, hostPort: 2}]", "", ".containers[0].ports[0].hostPort"),
        ("lifecycle: {preStop: {sleep: {seconds: 5}}}", "", ".containers[0].lifecycle.preStop"),
        ("", "nodeSelector: {a: b}", ".nodeSelector"),
        ("", "volumes: [{name: a, emptyDir: {}}]", ".volumes[0]"),
        ("", "volumes: [{name: a, hostPath: {path: /srv}}]", ".volumes[0]"),
        ("", "securityContext: {fsGroup: 1}", ".securityContext.fsGroup"),
    ] {
        for form in FORMS {
            let manifest = form.read(container, pod);
            assert_eq!(ignored(&manifest), [format!("{}{path}", form.path)], "{container}{pod}");
        }
    }
}

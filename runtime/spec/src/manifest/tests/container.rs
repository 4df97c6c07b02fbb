//! What a pod and its container say, which means the same in all three kinds.

use super::*;
use crate::{AppProtocol, Container, Contract, EnvVar, Medium, Network, Probe, ProbeHandler, Volume, VolumeMount};

/// A kind of manifest around a pod.
pub(super) struct Form {
    pub(super) kind: &'static str,
    head: &'static str,
    indent: usize,
    pub(super) path: &'static str,
    contract: Contract,
}

pub(super) const KNATIVE: Form = Form {
    kind: "Service",
    head: "\
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: demo, namespace: vision}
spec:
  template:
    spec:
",
    indent: 6,
    path: "spec.template.spec",
    contract: Contract::Knative,
};

pub(super) const KSERVE: Form = Form {
    kind: "InferenceService",
    head: "\
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {name: demo, namespace: vision}
spec:
  predictor:
    minReplicas: 0
",
    indent: 4,
    path: "spec.predictor",
    contract: Contract::KServe,
};

pub(super) const POD: Form = Form {
    kind: "Pod",
    head: "\
apiVersion: v1
kind: Pod
metadata: {name: demo, namespace: vision, annotations: {dormouse.dev/min-replicas: '0'}}
spec:
",
    indent: 2,
    path: "spec",
    contract: Contract::Auto,
};

pub(super) const FORMS: [Form; 3] = [KNATIVE, KSERVE, POD];

impl Form {
    /// The manifest with `container` written in its container and `pod` beside that.
    pub(super) fn with(&self, container: &str, pod: &str) -> String {
        let mut text = self.head.to_owned();
        let container = container.lines().map(|line| format!("  {line}"));
        let lines = ["containers:", "- name: main", "  image: busybox:1.36"].map(str::to_owned);
        for line in lines.into_iter().chain(container).chain(pod.lines().map(str::to_owned)) {
            text.push_str(&format!("{:indent$}{line}\n", "", indent = self.indent));
        }
        text
    }

    /// What a container is that says nothing: what its kind of manifest means.
    fn of_kind(&self) -> Container {
        let contract = self.contract;
        let startup_probe = (contract == Contract::KServe).then(Probe::tcp);
        Container { contract, startup_probe, ..Container::of("busybox:1.36".parse().unwrap()) }
    }

    pub(super) fn read(&self, container: &str, pod: &str) -> Manifest {
        let mut manifest = only(&self.with(container, pod));
        // The namespace is noted each time.
        manifest.notes.retain(|note| !note.to_string().starts_with("metadata.namespace"));
        assert_eq!(manifest.source, Source::Image("busybox:1.36".parse().unwrap()));
        manifest
    }

    pub(super) fn container(&self, container: &str) -> Container {
        *self.read(container, "").endpoint.container.unwrap()
    }
}

#[test]
fn an_image_alone_is_enough() {
    for form in FORMS {
        let manifest = form.read("", "");
        let pod = form.kind == "Pod";
        let container = Container { port: (!pod).then_some(8080), ..form.of_kind() };
        let min_replicas = (form.kind != "Service").then_some(0);
        assert_eq!(
            manifest.endpoint,
            EndpointRequest {
                min_replicas,
                max_replicas: pod.then_some(1),
                container: Some(Box::new(container)),
                ..EndpointRequest::named("demo".parse().unwrap())
            }
        );
        assert_eq!(manifest.notes, [], "{}", form.kind);
    }
}

const FULL: &str = "\
command: [/bin/serve]
args: ['--port=$(NUMBER)', '$$(NUMBER)']
workingDir: /srv
imagePullPolicy: IfNotPresent
env:
- {name: NUMBER, value: '80'}
- {name: TEXT, value: 'at $(NUMBER)'}
- {name: EMPTY}
- {name: WHERE, valueFrom: {fieldRef: {apiVersion: v1, fieldPath: metadata.namespace}}}
ports: [{name: http1, containerPort: 80, protocol: TCP}]
resources:
  limits: {cpu: 500m, memory: 1Gi, ephemeral-storage: 128Mi}
securityContext:
  runAsUser: 1000
  runAsGroup: 1001
  runAsNonRoot: true
  readOnlyRootFilesystem: true
  allowPrivilegeEscalation: false
  privileged: false
  capabilities: {drop: [ALL]}
  seccompProfile: {type: RuntimeDefault}
readinessProbe:
  httpGet: {path: /ready, port: http1, scheme: HTTP, httpHeaders: [{name: X-Probe, value: a b}]}
  initialDelaySeconds: 1
  periodSeconds: 2
  timeoutSeconds: 3
  successThreshold: 2
  failureThreshold: 4
volumeMounts:
- {name: scratch, mountPath: /tmp/}
- {name: shared, mountPath: /dev/shm, readOnly: false}
stdin: false
tty: false";

const FULL_POD: &str = "\
restartPolicy: Always
hostNetwork: false
automountServiceAccountToken: false
enableServiceLinks: false
hostUsers: false
os: {name: linux}
terminationGracePeriodSeconds: 5
initContainers: []
tolerations: []
volumes:
- {name: scratch, emptyDir: {}}
- {name: shared, emptyDir: {medium: Memory}}";

#[test]
fn what_is_honoured_arrives() {
    let variable = |name: &str, value: &str| EnvVar::new(name.to_owned(), value.to_owned()).unwrap();
    let mount = |name: &str, path: &str, medium| VolumeMount {
        name: name.to_owned(),
        mount_path: path.parse().unwrap(),
        read_only: false,
        volume: Volume::EmptyDir { medium, size_limit: None },
    };
    for form in FORMS {
        let Manifest { endpoint, notes, .. } = form.read(FULL, FULL_POD);
        let probe = ProbeHandler::HttpGet {
            port: None,
            path: "/ready".to_owned(),
            headers: vec![("X-Probe".to_owned(), "a b".to_owned())],
        };
        let container = Container {
            command: vec!["/bin/serve".to_owned()],
            args: vec!["--port=80".to_owned(), "$(NUMBER)".to_owned()],
            env: vec![
                variable("NUMBER", "80"),
                variable("TEXT", "at 80"),
                variable("EMPTY", ""),
                variable("WHERE", "vision"),
            ],
            working_dir: Some("/srv".to_owned()),
            port: Some(80),
            run_as_user: Some(1000),
            run_as_group: Some(1001),
            run_as_non_root: true,
            read_only_root_filesystem: true,
            readiness_probe: Some(Probe {
                initial_delay: Duration::from_secs(1),
                period: Duration::from_secs(2),
                timeout: Duration::from_secs(3),
                success_threshold: 2,
                failure_threshold: 4,
                ..Probe::with(probe)
            }),
            startup_probe: None,
            volume_mounts: vec![mount("scratch", "/tmp", Medium::Disk), mount("shared", "/dev/shm", Medium::Memory)],
            ..form.of_kind()
        };
        assert_eq!(endpoint.container.as_deref(), Some(&container), "{}", form.kind);
        let written = serde_json::to_string(&endpoint).unwrap();
        assert_eq!(serde_json::from_str::<EndpointRequest>(&written).unwrap(), endpoint, "{written}");
        assert_eq!(endpoint.drain_deadline, Some(Duration::from_secs(5)));
        assert_eq!(endpoint.cpu, Some(MilliCpu::from_milli(500)));
        assert_eq!(endpoint.memory, Some(Bytes::from_mebibytes(1024)));
        assert_eq!(endpoint.tmp, Some(Bytes::from_mebibytes(128)));
        assert_eq!(notes, [], "{}", form.kind);
    }
}

#[test]
fn probes_say_when_a_replica_is_ready_and_how_long_that_may_take() {
    let seconds = Duration::from_secs;
    let get = |path: &str, port| ProbeHandler::HttpGet { port, path: path.to_owned(), headers: Vec::new() };
    let tcp = |port| ProbeHandler::TcpSocket { port };
    for form in FORMS {
        let handler = |lines: &str| form.container(lines).readiness_probe.map(|probe| probe.handler);
        let first = |lines: &str| form.container(lines).startup_probe.map(|probe| probe.handler);
        assert_eq!((handler(""), first("")), (None, (form.contract == Contract::KServe).then(|| tcp(None))));
        assert_eq!(first("readinessProbe: {}"), None);
        assert_eq!(handler("readinessProbe: {}"), Some(tcp(None)));
        assert_eq!(handler("readinessProbe: {tcpSocket: {port: 9000}}"), Some(tcp(Some(9000))));
        assert_eq!(handler("readinessProbe: {httpGet: {}}"), Some(get("/", None)));
        let port = "ports: [{name: web, containerPort: 9000}]\n";
        assert_eq!(
            handler(&format!("{port}readinessProbe: {{httpGet: {{port: 9000, path: a}}}}")),
            Some(get("/a", None))
        );
        assert_eq!(handler(&format!("{port}readinessProbe: {{tcpSocket: {{port: web}}}}")), Some(tcp(None)));

        let startup =
            "startupProbe: {httpGet: {path: /s}, initialDelaySeconds: 5, periodSeconds: 2, failureThreshold: 30}";
        let manifest = form.read(startup, "");
        assert_eq!(manifest.endpoint.start_deadline, Some(seconds(65)));
        assert_eq!((handler(startup), first(startup)), (None, Some(get("/s", None))), "it is not looked at later");
        assert_eq!(
            form.read("startupProbe: {}", "").endpoint.start_deadline,
            Some(seconds(30)),
            "Kubernetes' defaults"
        );

        let both = form.read(&format!("{startup}\nreadinessProbe: {{httpGet: {{path: /r}}}}"), "");
        assert_eq!((ignored(&both), both.endpoint.start_deadline), (vec![], Some(seconds(65))));
        let container = both.endpoint.container.unwrap();
        let asked: Vec<_> = container.start_probes().map(|probe| (&probe.handler, probe.initial_delay)).collect();
        assert_eq!(asked, [(&get("/s", None), seconds(5)), (&get("/r", None), Duration::ZERO)]);
        let same = form.read(&format!("{startup}\nreadinessProbe: {{httpGet: {{path: /s}}}}"), "");
        assert_eq!(same.endpoint.start_deadline, Some(seconds(65)));
        assert_eq!(same.endpoint.container.unwrap().start_probes().count(), 1, "it is asked once");
    }
}

#[test]
fn a_port_says_what_is_spoken_on_it() {
    for form in FORMS {
        let spoken = |port: &str| form.container(&format!("ports: [{{containerPort: 1, {port}}}]")).app_protocol;
        for name in [
            "name: h2c",
            "name: h2c-grpc",
            "appProtocol: kubernetes.io/h2c",
            "name: http1, appProtocol: kubernetes.io/h2c",
        ] {
            assert_eq!(spoken(name), AppProtocol::H2c, "{name}");
        }
        for name in ["name: http1", "name: web", "name: h2cc", "appProtocol: http", "name: h2c, appProtocol: http"] {
            assert_eq!(spoken(name), AppProtocol::Http1, "{name}");
        }
    }
}

#[test]
fn a_liveness_probe_has_the_defaults_of_kubernetes() {
    for form in FORMS {
        let probe = |lines: &str| form.container(lines).liveness_probe;
        assert_eq!(probe("readinessProbe: {}"), None);
        let plain = Probe { period: Duration::from_secs(10), ..Probe::with(ProbeHandler::TcpSocket { port: None }) };
        assert_eq!(probe("livenessProbe: {tcpSocket: {}}"), Some(plain.clone()));
        assert_eq!((plain.failure_threshold, plain.timeout), (3, Duration::from_secs(1)));
        let grpc = |port, service: &str| ProbeHandler::Grpc { port, service: service.to_owned() };
        let written = "ports: [{containerPort: 9000}]\nlivenessProbe: {grpc: {port: 9000, service: a.B}, \
                       initialDelaySeconds: 5, periodSeconds: 2, timeoutSeconds: 3, failureThreshold: 4}";
        let expected = Probe {
            handler: grpc(None, "a.B"),
            initial_delay: Duration::from_secs(5),
            period: Duration::from_secs(2),
            timeout: Duration::from_secs(3),
            success_threshold: 1,
            failure_threshold: 4,
        };
        assert_eq!(probe(written), Some(expected));
        let readiness = form.container("readinessProbe: {grpc: {port: 1, service: ''}}").readiness_probe;
        assert_eq!(readiness.map(|probe| probe.handler), Some(grpc(Some(1), "")));
    }
}

#[test]
fn a_command_of_a_probe_is_taken_word_by_word() {
    for form in FORMS {
        let written =
            "env: [{name: A, value: a}]\nlivenessProbe: {exec: {command: [cat, $(A), '']}, timeoutSeconds: 2}";
        let probe = form.container(written).liveness_probe.unwrap();
        let command = ["cat", "$(A)", ""].map(str::to_owned).to_vec();
        assert_eq!((probe.handler, probe.timeout), (ProbeHandler::Exec { command }, Duration::from_secs(2)));
        let startup = form.container("startupProbe: {exec: {command: [a]}}").startup_probe.unwrap();
        assert_eq!(startup.handler.command(), Some(["a".to_owned()].as_slice()));
    }
}

#[test]
fn a_container_takes_from_its_pod_what_it_does_not_say() {
    for form in FORMS {
        let users = |container: &str, pod: &str| {
            let container = form.read(container, pod).endpoint.container.unwrap();
            (container.run_as_user, container.run_as_group, container.run_as_non_root)
        };
        let pod = "securityContext: {runAsUser: 1, runAsGroup: 2, runAsNonRoot: true}";
        assert_eq!(users("", pod), (Some(1), Some(2), true));
        assert_eq!(users("securityContext: {runAsUser: 3}", pod), (Some(3), Some(2), true));
        assert_eq!(users("securityContext: {runAsUser: 0, runAsNonRoot: false}", pod), (Some(0), Some(2), false));
        assert_eq!(users("securityContext: {runAsNonRoot: true}", ""), (None, None, true));
    }
}

#[test]
fn capabilities_are_those_of_root_or_none() {
    for form in FORMS {
        let noted = |context: &str| ignored(&form.read(&format!("securityContext: {{{context}}}"), "")).len();
        assert_eq!(noted("capabilities: {drop: [ALL]}"), 1);
        assert_eq!(noted("runAsUser: 0, capabilities: {drop: [ALL]}"), 1);
        for context in [
            "runAsUser: 1, capabilities: {drop: [ALL], add: [NET_BIND_SERVICE]}",
            "runAsNonRoot: true, capabilities: {drop: [ALL]}",
            "capabilities: {add: [CHOWN, SETUID]}",
        ] {
            assert_eq!(noted(context), 0, "{context}");
        }
        let pod = form.read("securityContext: {capabilities: {drop: [ALL]}}", "securityContext: {runAsUser: 1}");
        assert_eq!(pod.notes, []);
    }
}

#[test]
fn few_words_do_not_become_many() {
    let mut env = "env:\n- {name: A0, value: '0123456789'}\n".to_owned();
    for level in 1..30 {
        env.push_str(&format!("- {{name: A{level}, value: '$(A{0})$(A{0})'}}\n", level - 1));
    }
    let many = "env: &a\n- {name: A}\n".to_owned() + &"- {name: A}\n".repeat(crate::ENV_MAX);
    let long = format!("args: [{}]", "x".repeat(crate::PROCESS_BYTES_MAX));
    for form in FORMS {
        let error = parse(&form.with(&env, "")).unwrap_err().to_string();
        assert!(error.contains("bytes together") && error.len() < 300, "{error}");
        let error = parse(&form.with(&many, "")).unwrap_err().to_string();
        assert!(error.contains("there are 1025, more than 1024"), "{error}");
        let error = parse(&form.with(&long, "")).unwrap_err().to_string();
        assert!(error.contains("bytes together") && error.len() < 300, "{error}");
    }
}

#[test]
fn no_error_shows_the_value_of_a_variable() {
    for form in FORMS {
        for lines in ["env: [{name: A, value: \"hunter2\\0\"}]", "env: [{name: '', value: hunter2}]"] {
            let error = format!("{:?}", parse(&form.with(lines, "")).unwrap_err());
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}

#[test]
fn settings_of_the_built_in_worker_and_settings_made_twice_are_errors() {
    let annotated = |annotation: &str, container: &str, pod: &str| {
        let text = KNATIVE.with(container, pod);
        let text = text.replace("namespace: vision", &format!("annotations: {{dormouse.dev/{annotation}}}"));
        parse(&text).map(|_| ()).map_err(|error| error.to_string())
    };
    for annotation in ["intra-op-threads: '1'", "keep-template: 1m"] {
        assert!(annotated(annotation, "", "").unwrap_err().contains("for models"), "{annotation}");
    }
    for (annotation, container, pod) in [
        ("tmp: 1Mi", "resources: {limits: {ephemeral-storage: 1Mi}}", ""),
        ("start-deadline: 1m", "startupProbe: {}", ""),
        ("drain-deadline: 1m", "", "terminationGracePeriodSeconds: 1"),
        ("timeout: 1m", "", "timeoutSeconds: 1"),
    ] {
        assert!(annotated(annotation, container, pod).unwrap_err().contains("made twice"), "{annotation}");
        assert_eq!(annotated(annotation, "", ""), Ok(()));
    }
}

#[test]
fn a_container_reaches_what_an_annotation_says() {
    for form in FORMS {
        let annotated = |network: &str| {
            let text =
                form.with("", "").replace("{name: demo", "{name: demo, annotations: {dormouse.dev/network: NETWORK}");
            let text = text.replace(", annotations: {dormouse.dev/min-replicas: '0'}", "").replace("NETWORK", network);
            parse(&text).map(|manifests| manifests[0].endpoint.container.as_ref().unwrap().network)
        };
        assert_eq!(form.container("").network, Network::None);
        assert_eq!(annotated("none").unwrap(), Network::None);
        assert_eq!(annotated("egress").unwrap(), Network::Egress);
        let error = annotated("host").unwrap_err().to_string();
        assert!(error.contains("[dormouse.dev/network]: `host` is not a network"), "{error}");
    }
}

proptest! {
    #[test]
    fn no_truncation_makes_it_panic(form in 0..FORMS.len(), end in 0..1_500_usize) {
        let text = FORMS[form].with(FULL, FULL_POD);
        let _ = parse(text.get(..end).unwrap_or(&text));
    }

    #[test]
    fn no_line_left_out_makes_it_panic(form in 0..FORMS.len(), without in 0..60_usize) {
        let text = FORMS[form].with(FULL, FULL_POD);
        let lines = text.lines().enumerate().filter(|(index, _)| *index != without).map(|(_, line)| line);
        let _ = parse(&lines.collect::<Vec<_>>().join("\n"));
    }
}

#[test]
fn a_container_keeps_to_what_its_kind_of_manifest_means_or_to_what_it_says() {
    for form in FORMS {
        assert_eq!(form.container("").contract, form.contract);
        let said = form.with("", "").replace("metadata: {", "metadata: {ANNOTATIONS");
        let with = |annotations: &str| match said.contains("ANNOTATIONSname: demo, namespace: vision, annotations: {") {
            true => {
                said.replace("ANNOTATIONS", "").replace("annotations: {", &format!("annotations: {{{annotations}, "))
            }
            false => said.replace("ANNOTATIONS", &format!("annotations: {{{annotations}}}, ")),
        };
        let container = only(&with("dormouse.dev/contract: kserve")).endpoint.container.unwrap();
        assert_eq!((container.contract, container.start_probes().count()), (Contract::KServe, 0), "{}", form.kind);
        let error = parse(&with("dormouse.dev/contract: lambda")).unwrap_err().to_string();
        assert!(error.contains("there are auto, knative, kserve"), "{error}");
    }
}

#[test]
fn requests_without_limits_are_taken() {
    let requests = "resources: {limits: {cpu: 1}, requests: {memory: 1Gi, ephemeral-storage: 100Mi}}";
    for form in FORMS {
        let Manifest { endpoint, notes, .. } = form.read(requests, "");
        let expected = crate::Requests {
            cpu: None,
            memory: Some(Bytes::from_mebibytes(1_024)),
            tmp: Some(Bytes::from_mebibytes(100)),
        };
        assert_eq!((endpoint.requests, notes.as_slice()), (expected, [].as_slice()), "{}", form.kind);
    }
}

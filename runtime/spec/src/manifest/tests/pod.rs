use super::{container::POD, *};

fn annotated(annotations: &str) -> Manifest {
    only(
        &POD.with("", "")
            .replace("annotations: {dormouse.dev/min-replicas: '0'}", &format!("annotations: {{{annotations}}}")),
    )
}

#[test]
fn a_pod_is_one_unless_it_says_otherwise() {
    let replicas = |annotations: &str| {
        let endpoint = annotated(annotations).endpoint;
        (endpoint.min_replicas, endpoint.max_replicas)
    };
    assert_eq!(replicas(""), (None, Some(1)));
    assert_eq!(replicas("dormouse.dev/min-replicas: '1'"), (Some(1), Some(1)));
    assert_eq!(replicas("dormouse.dev/min-replicas: '2'"), (Some(2), Some(2)));
    assert_eq!(replicas("dormouse.dev/max-replicas: '3'"), (None, Some(3)));
    let differs = annotated("").notes.iter().any(|note| matches!(note, Note::Differs { standard: "Kubernetes", .. }));
    assert!(differs);
}

#[test]
fn a_pod_has_the_name_that_it_was_given() {
    let env = "env: [{name: A, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]";
    assert_eq!(POD.container(env).env[0].value(), "demo");
}

#[test]
fn a_pod_gets_no_variables_but_its_own() {
    let container = POD.container("args: ['$(PORT)', '$(A)']\nenv: [{name: A, value: '$(B)'}, {name: B, value: b}]");
    assert_eq!(container.args, ["$(PORT)", "$(B)"], "what comes later is not known yet");
}

#[test]
fn the_variable_port_is_the_port_or_an_error() {
    let told = POD.container("env: [{name: PORT, value: '80'}]\nargs: ['$(PORT)']");
    assert_eq!((told.port, told.args), (Some(80), vec!["80".to_owned()]));
    let same = POD.container("env: [{name: PORT, value: '80'}]\nports: [{containerPort: 80}]");
    assert_eq!(same.port, Some(80));
    for (env, ports) in
        [("'81'", "[{containerPort: 80}]"), ("'0'", "[]"), ("web", "[]"), ("'80'}, {name: PORT, value: '81'", "[]")]
    {
        let text = POD.with(&format!("env: [{{name: PORT, value: {env}}}]\nports: {ports}"), "");
        let error = parse(&text).unwrap_err().to_string();
        assert!(error.contains(".name: not supported: it tells the port"), "{error}");
    }
}

#[test]
fn the_last_variable_of_a_name_counts() {
    let container = POD.container("env: [{name: A, value: '1'}, {name: A, value: '$(A)2'}]\nargs: ['$(A)']");
    assert_eq!(container.args, ["12"]);
    assert_eq!(container.env.len(), 2);
}

#[test]
fn a_port_of_a_pod_has_a_number() {
    let error = parse(&POD.with("ports: [{name: http}]", "")).unwrap_err().to_string();
    assert!(error.contains("`containerPort` is missing"), "{error}");
    assert_eq!(POD.container("ports: [{name: web, containerPort: 3000}]").port, Some(3000));
}

#[test]
fn kinds_may_be_mixed_in_one_file() {
    let text = format!("{MINIMAL}---\n{}", POD.with("", "").replace("name: demo", "name: other"));
    let sources: Vec<bool> =
        parse(&text).unwrap().iter().map(|manifest| matches!(manifest.source, Source::Image(_))).collect();
    assert_eq!(sources, [false, true]);
    let twice = parse(&format!("{MINIMAL}---\n{}", POD.with("", ""))).unwrap_err();
    assert!(matches!(twice, ManifestError::NamedTwice { .. }), "{twice}");
}

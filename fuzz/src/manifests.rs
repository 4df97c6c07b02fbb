//! Manifests, as operators deploy them.

use std::collections::HashSet;

use dormouse_spec::{
    Bytes, CONTAINER_CONCURRENCY_MAX, Container, Endpoint, EndpointDefaults, EndpointRequest, MilliCpu, PIDS_MAX,
    PROCESS_BYTES_MAX,
    manifest::{self, DOCUMENTS_MAX, Manifest, Source},
};

/// The model and the node that an endpoint is resolved for.
const MODEL: Bytes = Bytes::from_mebibytes(10);
const CPUS: u32 = 2;

/// A manifest that is accepted describes endpoints of different names, each of which survives being
/// written down and either resolves within its bounds or is refused.
pub fn manifests(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let Ok(manifests) = manifest::parse(text) else { return };
    assert!((1..=DOCUMENTS_MAX).contains(&manifests.len()));
    let names: HashSet<&str> = manifests.iter().map(|manifest| manifest.endpoint.name.as_str()).collect();
    assert_eq!(names.len(), manifests.len(), "each name once");
    for Manifest { endpoint: asked, source, .. } in &manifests {
        match source {
            Source::Model(storage) => assert!(storage.path().is_absolute() && asked.container.is_none()),
            Source::Image(image) => {
                let container = asked.container.as_deref().expect("an image is a container's");
                assert_eq!(container.image, *image);
                check_container(container);
            }
        }
        let written = serde_json::to_string(asked).expect("a request can be written");
        let read: EndpointRequest = serde_json::from_str(&written).expect("and read");
        assert_eq!(read, *asked, "{written}");
        if let Ok(endpoint) = asked.resolve(&EndpointDefaults::default(), MODEL, CPUS) {
            check(&endpoint);
        }
    }
}

fn check_container(container: &Container) {
    let words = container.command.iter().chain(&container.args);
    let bytes: usize = words.map(|word| word.len() + 1).sum();
    let variables = container.env.iter().map(|variable| variable.name().len() + variable.value().len() + 2);
    assert!(bytes + variables.sum::<usize>() <= PROCESS_BYTES_MAX);
    assert!(container.working_dir.as_ref().is_none_or(|path| path.starts_with('/')));
    assert!(!(container.run_as_non_root && container.run_as_user == Some(0)));
    assert_ne!(container.port, Some(0));
}

fn check(endpoint: &Endpoint) {
    let limits = &endpoint.limits;
    assert!(endpoint.min_replicas <= endpoint.max_replicas && (1..=1_000).contains(&endpoint.max_replicas));
    assert!((1..=CONTAINER_CONCURRENCY_MAX).contains(&endpoint.container_concurrency));
    assert!(limits.cpu <= MilliCpu::from_processors(CPUS) && limits.cpu.milli() >= 1);
    assert!(limits.tmp <= limits.memory && limits.memory >= Bytes::from_mebibytes(32));
    assert!(limits.pids <= PIDS_MAX && (1..limits.pids).contains(&endpoint.intra_op_threads));
    assert!(endpoint.timeout.as_millis() >= 1 && endpoint.start_deadline.as_millis() >= 1);
    let written = serde_json::to_string(endpoint).expect("an endpoint can be written");
    assert_eq!(serde_json::from_str::<Endpoint>(&written).expect("and read"), *endpoint, "{written}");
}

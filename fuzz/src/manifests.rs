//! Manifests, as operators deploy them.

use std::collections::HashSet;

use dormouse_spec::{
    Bytes, CONTAINER_CONCURRENCY_MAX, Endpoint, EndpointDefaults, EndpointRequest, MilliCpu, PIDS_MAX,
    manifest::{self, DOCUMENTS_MAX, Manifest},
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
    for Manifest { endpoint: asked, storage, .. } in &manifests {
        assert!(storage.path().is_absolute());
        let written = serde_json::to_string(asked).expect("a request can be written");
        let read: EndpointRequest = serde_json::from_str(&written).expect("and read");
        assert_eq!(read, *asked, "{written}");
        if let Ok(endpoint) = asked.resolve(&EndpointDefaults::default(), MODEL, CPUS) {
            check(&endpoint);
        }
    }
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

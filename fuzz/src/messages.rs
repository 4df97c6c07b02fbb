//! Messages between the two halves of the daemon, in both directions.

use std::fmt::Debug;

use dormouse_sandbox::{
    channel,
    commands::Report,
    messages::{Event, ReplicaId, Request},
};
use serde::{Serialize, de::DeserializeOwned};

/// A request that is accepted has one spelling, and what it names stays a single path component.
pub fn spawner_requests(data: &[u8]) {
    match message::<Request>(data) {
        Some(Request::Create(spec)) => {
            check_id(&spec.replica);
            let layers = spec.payload.image().map(|image| image.layers.as_slice()).unwrap_or_default();
            for digest in spec.payload.model().map(|payload| &payload.model).into_iter().chain(layers) {
                check_component(&digest.directory_name());
            }
        }
        Some(
            Request::Freeze { replica }
            | Request::Thaw { replica }
            | Request::Stop { replica, .. }
            | Request::Socket { replica, .. },
        ) => {
            check_id(&replica);
        }
        Some(Request::Forget { endpoint }) => check_component(endpoint.as_str()),
        Some(Request::UnpackLayer { blob, diff_id, .. }) => {
            check_component(&blob.directory_name());
            check_component(&diff_id.directory_name());
        }
        Some(Request::RemoveLayer { diff_id }) => check_component(&diff_id.directory_name()),
        Some(Request::Hello { .. } | Request::Drained) | None => {}
    }
}

/// The same of what a node reads: events of the spawner's, and how commands in a container ended.
pub fn spawner_events(data: &[u8]) {
    let _ = message::<Report>(data);
    if let Some(Event::Adopt(report)) = message::<Event>(data) {
        check_id(&report.spec.replica);
    }
}

/// Whatever any spelling means is the same after it was written and read; the channel takes a message
/// exactly where it is spelt as it would be written.
fn message<M: Serialize + DeserializeOwned + PartialEq + Debug>(data: &[u8]) -> Option<M> {
    let taken = channel::read::<M>(data).ok();
    let meant: Option<M> = serde_json::from_slice(data).ok();
    if let Some(meant) = &meant {
        let written = serde_json::to_vec(meant).expect("a message can be written");
        assert_eq!(channel::read::<M>(&written).ok().as_ref(), Some(meant));
        assert_eq!(taken.is_some(), written == data);
    }
    assert!(taken.is_none() || taken == meant);
    taken
}

fn check_id(id: &ReplicaId) {
    check_component(id.as_str());
    let rest = id.as_str().strip_prefix(id.endpoint().as_str()).and_then(|rest| rest.strip_prefix('-'));
    let (revision, serial) = rest.and_then(|rest| rest.split_once('-')).expect("a revision and a serial follow");
    assert_eq!(revision.parse(), Ok(id.revision()));
    assert!(serial.parse::<u64>().is_ok());
}

/// A name that can be made a file's, a socket's or a control group's.
fn check_component(name: &str) {
    assert!((1..=96).contains(&name.len()));
    assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'));
}

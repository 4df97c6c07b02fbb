//! Replicas that must not come to be.

use std::{fs, os::unix::fs::symlink};

use dormouse_sandbox::messages::{Event, ExitCause, Request};
use dormouse_spec::Digest;

use dormouse_driver::{
    daemon::Daemon,
    machine,
    script::{model, replica, replica_of},
};

pub(crate) fn of_an_unknown_model_fails() {
    let mut daemon = Daemon::start();
    let mut node = daemon.node();
    let mut spec = replica();
    let unknown = Digest::from_sha256([9; 32]);
    spec.payload.model_mut().unwrap().model = unknown;
    node.create(&spec);
    let ExitCause::NotCreated { reason } = node.exit_cause(&spec.replica) else { panic!("there is no such model") };
    assert!(reason.contains(&unknown.directory_name()), "{reason}");
    assert!(machine::groups(&daemon.group()).iter().all(|group| !group.join(spec.replica.as_str()).exists()));
    // The same id with a model that is there.
    node.start(&replica());
    daemon.end(node);
}

/// The store belongs to the node: a broken-in one could put links there.
pub(crate) fn follows_no_link_in_the_store() {
    let mut daemon = Daemon::start();
    let mut node = daemon.node();
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("model.onnx"), b"somebody else's").unwrap();
    let models = daemon.settings.data.join("models");
    let stored = models.join(model().directory_name());
    for (serial, target) in (1..).zip([elsewhere.path(), &models.join("moved")]) {
        if stored.is_symlink() {
            fs::remove_file(&stored).unwrap();
        } else {
            fs::rename(&stored, models.join("moved")).unwrap();
        }
        symlink(target, &stored).unwrap();
        let spec = replica_of("plain", serial);
        node.create(&spec);
        let cause = node.exit_cause(&spec.replica);
        let ExitCause::NotCreated { reason } = cause else { panic!("{cause:?} through a link to {target:?}") };
        assert!(reason.contains("opening the stored model"), "{reason}");
    }
    daemon.end(node);
}

pub(crate) fn of_an_id_in_use_is_refused() {
    let mut daemon = Daemon::start();
    let mut node = daemon.node();
    let spec = replica();
    node.start(&spec);
    let pid = machine::process(&daemon.group(), &spec.replica);
    node.create(&spec);
    assert!(matches!(node.of(&spec.replica), Event::Refused { .. }));
    assert_eq!(machine::process(&daemon.group(), &spec.replica), pid);
    assert_eq!(node.call(&spec.replica, "hostname"), "dormouse");
    daemon.end(node);
}

pub(crate) fn what_names_no_replica_is_refused() {
    let mut daemon = Daemon::start();
    let mut node = daemon.node();
    let stranger = replica_of("stranger", 1).replica;
    node.ask(&Request::Freeze { replica: stranger.clone() });
    assert!(matches!(node.of(&stranger), Event::Refused { .. }));
    node.ask(&Request::Hello { version: dormouse_sandbox::messages::PROTOCOL_VERSION });
    assert!(matches!(node.of_none(), Event::Refused { replica: None, .. }));
    daemon.end(node);
}

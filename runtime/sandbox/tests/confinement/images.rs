//! Processes of images, as they find themselves and as the node reaches them.

use dormouse_driver::{
    Daemon, Node,
    images::{self, PORT, archive, get, web},
};
use dormouse_sandbox::messages::{Origin, ReplicaSpec};
use dormouse_spec::Digest;

/// A daemon with the image unpacked.
struct Stage {
    daemon: Daemon,
    node: Node,
    layer: Digest,
}

impl Stage {
    fn set() -> Self {
        let mut daemon = Daemon::start();
        let mut node = daemon.node();
        let layer = node.unpack_image(&daemon.settings.data.clone(), archive());
        Self { daemon, node, layer }
    }

    fn web(&self, endpoint: &str) -> ReplicaSpec {
        web(endpoint, 1, &[self.layer])
    }

    fn end(self) {
        self.daemon.end(self.node);
    }
}

pub(crate) fn a_web_server_answers_over_a_socket_that_was_passed() {
    let mut stage = Stage::set();
    let spec = stage.web("web");
    let started = stage.node.start_image(&spec);
    let connection = stage.node.connect(&spec.replica, PORT);
    assert_eq!(get(connection, "/index.html"), "busybox serves this");
    let Origin::Created(phases) = started.origin else { panic!("{:?}", started.origin) };
    println!("{phases:?}");
    println!("{}", stage.node.run_in(&spec.replica, "id; cat /proc/self/status /proc/self/mountinfo; ls -la / /etc; env; cat /proc/self/uid_map"));
    stage.end();
}

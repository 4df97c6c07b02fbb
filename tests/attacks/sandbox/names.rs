//! Classes 7 and 10: a node that was taken over puts into its messages what is not theirs to say.

use std::{fs, os::unix::net::UnixStream};

use crate::stage::Stage;
use dormouse_attacks::{Attack, Ground, Outcome};
use dormouse_driver::{
    machine::{self, until},
    script::{converse, replica_of},
};
use dormouse_sandbox::messages::Request;

pub(crate) const ATTACKS: &[Attack] = &[
    Attack { class: 7, name: "an id that leaves its directory", defence: "TypedNames", run: leave_directory },
    Attack { class: 10, name: "ask for a kernel parameter", defence: "NoSysctls", run: ask_for_sysctl },
];

const PARAMETER: &str = "/proc/sys/net/ipv4/ip_default_ttl";
const INJECTED: &str = "7";

/// A request to create a replica, in the only spelling that is taken, and changed in one place.
fn create(what: &str, by: &str) -> String {
    let request = serde_json::to_string(&Request::Create(Box::new(replica_of("hostile", 1)))).unwrap();
    assert_eq!(request.matches(what).count(), 1, "{request}");
    request.replace(what, by)
}

fn leave_directory(ground: &Ground) -> Outcome {
    let mut stage = Stage::enter(ground);
    // A sibling of the daemon's own group and of its directory of sockets.
    let sibling = format!("{}-beside", stage.daemon.group());
    let socket = stage.daemon.settings.run.join(format!("{sibling}.sock"));
    let id = replica_of("hostile", 1).replica;
    stage.node.send_bytes(create(&format!("\"{id}\""), &format!("\"../{sibling}\"")).as_bytes());
    let is_out = || socket.exists() || !machine::groups(&sibling).is_empty();
    let mut got_out = false;
    until("the request is answered", || {
        got_out |= is_out();
        got_out || stage.node.is_closed()
    });
    if got_out {
        drop(stage);
        remove(&sibling);
        return Outcome::GotThrough("a socket and a control group beside the daemon's own".to_owned());
    }
    stage.node = stage.daemon.node();
    assert!(!is_out());
    stage.leave();
    Outcome::Stopped("the node is replaced, nothing was made".to_owned())
}

/// What was made outside is the attack's to remove.
fn remove(group: &str) {
    until("the planted groups are removed", || {
        machine::groups(group).iter().all(|directory| fs::remove_dir(directory).is_ok())
    });
}

fn ask_for_sysctl(ground: &Ground) -> Outcome {
    let mut stage = Stage::enter(ground);
    let last = format!("\"concurrency\":{}", replica_of("hostile", 1).concurrency);
    let sysctl = format!("{last},\"sysctl\":{{\"net.ipv4.ip_default_ttl\":\"{INJECTED}\"}}");
    stage.node.send_bytes(create(&last, &sysctl).as_bytes());
    let replica = replica_of("hostile", 1).replica;
    let mut connection = None;
    until("the request is answered", || {
        // A socket has a name before it listens.
        connection = UnixStream::connect(stage.node.socket(&replica)).ok();
        connection.is_some() || stage.node.is_closed()
    });
    let Some(connection) = connection else {
        stage.node = stage.daemon.node();
        let own = stage.replica();
        let written = stage.ask(&own, &format!("overwrite {PARAMETER} {INJECTED}"));
        stage.leave();
        assert_ne!(written, "ok");
        return Outcome::Stopped(format!("the node is replaced; from inside: {written}"));
    };
    let value = converse(&connection, &format!("read {PARAMETER}")).trim().to_owned();
    stage.leave();
    if value == INJECTED {
        Outcome::GotThrough(format!("{PARAMETER} is {value} in the container"))
    } else {
        Outcome::Stopped(format!("{PARAMETER} is {value} in the container"))
    }
}

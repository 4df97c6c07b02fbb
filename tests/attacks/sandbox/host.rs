//! Class 8: the host's network, which a process of an image has calls for and a worker has not; and coming back to the
//! host by the way out to other machines.

use std::{
    net::TcpListener,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener},
    },
};

use dormouse_attacks::{Attack, Ground, Outcome, Replicas};
use dormouse_driver::{
    images::{archive, web, with},
    neighbourhood::{NEIGHBOUR, NODE, Neighbourhood},
};
use dormouse_spec::Network;

use crate::stage::Stage;

pub(crate) const ATTACKS: &[Attack] = &[
    Attack { class: 8, name: "connect to a socket of the host's", defence: "OwnNetwork", run: connect },
    Attack {
        class: 8,
        name: "connect to the node through its outbound network",
        defence: "NodeOutOfReach",
        run: come_back,
    },
];

/// An abstract socket has no file that a mount could hide; a port of the loopback is often thought to be out of reach.
fn connect(ground: &Ground) -> Outcome {
    let mut stage = Stage::enter(ground);
    let name = format!("dormouse-attack-{}", stage.daemon.pid());
    let _abstract = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap();
    let replica = stage.replica();
    let commands = [format!("connect-abstract {name}"), format!("connect-port {}", port.local_addr().unwrap().port())];
    let answers = commands.map(|command| stage.ask(&replica, &command));
    stage.leave();
    if answers.iter().all(|answer| answer == "ECONNREFUSED") {
        Outcome::Stopped("ECONNREFUSED, by an abstract name and by a port".to_owned())
    } else {
        Outcome::GotThrough(format!("an abstract name answers {}, a port {}", answers[0], answers[1]))
    }
}

/// What makes a replica's connections is on the node, whose services trust who comes from there.
fn come_back(ground: &Ground) -> Outcome {
    let here = Neighbourhood::enter();
    // Its image is another one, whose shell has programs for this.
    let mut stage = Stage::enter(&Ground { replicas: Replicas::Created, ..ground.clone() });
    let data = stage.daemon.settings.data.clone();
    let layer = stage.node.unpack_image(&data, archive());
    let spec = with(web("outward", 1, &[layer]), |payload| payload.network = Network::Egress);
    stage.node.start_image(&spec);
    let service = TcpListener::bind((NODE, 0)).unwrap();
    service.set_nonblocking(true).unwrap();
    let port = service.local_addr().unwrap().port();
    let others = stage.node.run_in(&spec.replica, &format!("busybox wget -q -O - http://{NEIGHBOUR}/"));
    let node = format!("echo hello | busybox timeout 2 busybox nc -w 1 {NODE} {port} 2>&1; echo tried");
    let answer = stage.node.run_in(&spec.replica, &node);
    let is_reached = service.accept().is_ok();
    drop(here);
    stage.leave();
    assert_eq!((others.as_str(), answer.contains("tried")), ("from outside", true));
    if is_reached {
        Outcome::GotThrough("a service of the node's took the connection".to_owned())
    } else {
        Outcome::Stopped("a neighbour answers, and a service of the node's hears nothing".to_owned())
    }
}

//! Class 8: the host's network, which a process of an image has calls for and a worker has not.

use std::{
    net::TcpListener,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener},
    },
};

use dormouse_attacks::{Attack, Ground, Outcome, Replicas};

use crate::stage::Stage;

pub(crate) const ATTACKS: &[Attack] = &[Attack {
    class: 8,
    name: "connect to a socket of the host's",
    defence: "OwnNetwork",
    run: |ground| connect(&Ground { replicas: Replicas::Image, ..ground.clone() }),
}];

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

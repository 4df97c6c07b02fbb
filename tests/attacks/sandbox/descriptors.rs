//! Class 2: descriptors that were left open, and the working directory.

use std::{io::Write, net::TcpStream, os::fd::AsFd};

use dormouse_attacks::{Attack, Ground, Outcome};

use crate::stage::Stage;

pub(crate) const ATTACKS: &[Attack] = &[
    Attack { class: 2, name: "take a client's connection", defence: "ClosedDescriptors", run: take_connection },
    Attack { class: 2, name: "reach the host through a descriptor", defence: "ClosedDescriptors", run: leave_root },
];

/// Some runtimes pass on what the variables of socket activation number, whoever set them.
fn activated(ground: &Ground) -> Ground {
    ground.clone().with("LISTEN_FDS", "250")
}

fn take_connection(ground: &Ground) -> Outcome {
    let mut stage = Stage::enter(&activated(ground));
    let replica = stage.replica();
    let gateway = stage.node.listeners.iter().find_map(|listener| {
        rustix::net::getsockname(listener.as_fd()).ok().and_then(|address| std::net::SocketAddr::try_from(address).ok())
    });
    let mut client = TcpStream::connect(gateway.expect("a listener for clients")).unwrap();
    client.write_all(b"a client's secret").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let taken = stage.ask(&replica, "take-connection");
    stage.leave();
    if taken.is_empty() {
        Outcome::Stopped("nothing but the channel and the log is open".to_owned())
    } else {
        Outcome::GotThrough(format!("a container read `{taken}` from a connection to the gateway"))
    }
}

fn leave_root(ground: &Ground) -> Outcome {
    let mut stage = Stage::enter(&activated(ground));
    let replica = stage.replica();
    let reached = stage.ask(&replica, "leave-root");
    let inherited = stage.ask(&replica, "inherited");
    stage.leave();
    match (reached.lines().next(), inherited.lines().count()) {
        (None, 0) => Outcome::Stopped("the working directory is the container's root, nothing else is open".to_owned()),
        (Some(line), _) => Outcome::GotThrough(format!("read `{line}`")),
        (None, count) => Outcome::GotThrough(format!(
            "{count} descriptors of the spawner are open, such as {}",
            inherited.lines().next().unwrap()
        )),
    }
}

//! Heads of HTTP/1.1 without measure.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use dormouse_attacks::{Ground, Outcome};
use dormouse_tests::Request;

use crate::target::{Memory, home, is_answered};

/// Connections that send them at once.
const CONNECTIONS: usize = 24;
/// Of one head.
const BYTES: usize = 8 << 20;
/// Of one head, and none of them long.
const HEADERS: usize = 5_000;
/// How long the verdict may take.
const WAIT: Duration = Duration::from_secs(30);

/// The status of whatever comes, or none where the connection is closed.
fn verdict(stream: &mut TcpStream) -> Option<u16> {
    stream.set_read_timeout(Some(WAIT)).unwrap();
    let mut line = [0; 12];
    stream.read_exact(&mut line).ok()?;
    std::str::from_utf8(&line[9..]).ok()?.parse().ok()
}

pub(crate) fn endless(ground: &Ground) -> Outcome {
    let daemon = home(ground).start();
    let memory = Memory::of_node(&daemon);
    let mut held: Vec<TcpStream> = (0..CONNECTIONS).map(|_| TcpStream::connect(daemon.address()).unwrap()).collect();
    for stream in &mut held {
        let _ = stream.write_all(b"GET /v2 HTTP/1.1\r\nhost: a\r\nx: ");
        // Refused while it is sent.
        let _ = stream.write_all(&vec![b'x'; BYTES]);
    }
    let others = is_answered(daemon.address(), &Request::get("/v2"));
    let (grown, is_bounded) = (memory.grown_mib(), memory.is_bounded());
    for stream in &mut held {
        let _ = stream.write_all(b"\r\n\r\n");
    }
    let accepted = held.iter_mut().filter_map(verdict).filter(|status| *status != 431).count();
    let seen = format!("{CONNECTIONS} heads of {} MiB: {accepted} accepted, the node grew by {grown} MiB", BYTES >> 20);
    if accepted == 0 && is_bounded && others { Outcome::Stopped(seen) } else { Outcome::GotThrough(seen) }
}

pub(crate) fn many(ground: &Ground) -> Outcome {
    let daemon = home(ground).start();
    let mut request = Request::get("/v2");
    for _ in 0..HEADERS {
        request = request.header("a", "b");
    }
    let status = daemon.send(&request).status;
    let seen = format!("{HEADERS} headers got {status}");
    if status == 431 { Outcome::Stopped(seen) } else { Outcome::GotThrough(seen) }
}

//! Requests that two servers in a row would find in different places.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

use dormouse_attacks::{Ground, Outcome};

use crate::{naive, target::home};

/// The request that nobody sent.
const HIDDEN: &str = "GET /v2/health/live HTTP/1.1\r\nhost: a\r\n\r\n";
/// How long the end of the connection is waited for.
const WAIT: Duration = Duration::from_secs(30);

/// Each is one request to whoever reads it in one way, and [`HIDDEN`] follows for who reads it in another.
const WAYS: [(&str, &str); 11] = [
    ("a length and chunks", "content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("chunks and a length", "transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n"),
    ("two lengths", "content-length: 0\r\ncontent-length: 43\r\n\r\n"),
    ("a list of lengths", "content-length: 0\r\ncontent-length: 0, 43\r\n\r\n"),
    ("a folded coding", "transfer-encoding:\r\n chunked\r\n\r\n0\r\n\r\n"),
    ("a coding that only sounds like it", "transfer-encoding: xchunked\r\n\r\n0\r\n\r\n"),
    ("a coding around it", "transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
    ("a space before the colon", "transfer-encoding : chunked\r\n\r\n0\r\n\r\n"),
    ("a chunk with a bare line feed", "transfer-encoding: chunked\r\n\r\n0;x\ny\r\n\r\n"),
    ("a signed length", "content-length: +0\r\n\r\n"),
    ("a name that is none", "x y: z\r\ncontent-length: 0\r\n\r\n"),
];

/// How many answers come before the connection ends.
fn answers(address: SocketAddr, head: &str) -> usize {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(WAIT)).unwrap();
    let _ = stream.write_all(format!("POST /v2/repository/index HTTP/1.1\r\nhost: a\r\n{head}{HIDDEN}").as_bytes());
    let _ = stream.shutdown(Shutdown::Write);
    let mut answered = Vec::new();
    // A reset is an end, too.
    let _ = stream.read_to_end(&mut answered);
    String::from_utf8_lossy(&answered).matches("HTTP/1.1 ").count()
}

pub(crate) fn smuggled(ground: &Ground) -> Outcome {
    let daemon = home(ground).start();
    let address = naive::door(ground, &daemon);
    let through: Vec<&str> = WAYS.iter().filter(|(_, head)| answers(address, head) > 1).map(|(way, _)| *way).collect();
    if through.is_empty() {
        return Outcome::Stopped(format!("of {} ways none gets a second answer", WAYS.len()));
    }
    Outcome::GotThrough(format!("{} of {} ways: {}", through.len(), WAYS.len(), through.join(", ")))
}

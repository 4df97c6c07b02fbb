//! Frames of HTTP/2 that no client library would send.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use dormouse_attacks::{Ground, Outcome};
use dormouse_tests::Request;

use crate::{
    naive::{self, PREFACE},
    target::{Memory, by_others, good, home, identity, is_answered},
};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// A head that begins so has status 200: the eighth entry of every table.
const STATUS_200: u8 = 0x88;
/// The setting of a stream's first window.
const INITIAL_WINDOW_SIZE: u8 = 4;

/// How long a frame is waited for.
const WAIT: Duration = Duration::from_secs(30);
/// How long nothing may be read before that is the answer.
const STALL: Duration = Duration::from_secs(5);

/// Streams that are opened.
const STREAMS: u32 = 1_000;
/// Those that may be.
const STREAMS_MAX: &str = "16";
/// Parts of one head, of 16 KiB each.
const PARTS: usize = 1_024;
const PART_BYTES: usize = 16_000;
/// Frames of a tensor: within the first window of a stream, and answered in more than one piece.
const TENSOR_FRAMES: usize = 15;
/// What is sent of frames that want an answer: far more than the buffers between us hold.
const FLOOD_BYTES: usize = 96 << 20;

struct Frame {
    kind: u8,
    flags: u8,
    payload: Vec<u8>,
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A field of a head, as a literal that no table remembers.
fn field(name: &str, value: &str) -> Vec<u8> {
    [vec![0x10], text(name), text(value)].concat()
}

/// A length in seven bits and more (RFC 7541, 5.1), and the bytes.
fn text(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut left = text.len();
    if left < 127 {
        bytes.push(left as u8);
    } else {
        bytes.push(127);
        left -= 127;
        while left >= 128 {
            bytes.push((left % 128) as u8 | 128);
            left /= 128;
        }
        bytes.push(left as u8);
    }
    [bytes, text.into()].concat()
}

fn head(method: &str, path: &str) -> Vec<u8> {
    [field(":method", method), field(":scheme", "http"), field(":path", path), field(":authority", "a")].concat()
}

struct Client(TcpStream);

impl Client {
    fn connect(address: SocketAddr, settings: &[u8]) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(WAIT)).unwrap();
        stream.set_write_timeout(Some(WAIT)).unwrap();
        stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, settings)].concat()).unwrap();
        Self(stream)
    }

    /// Whoever is refused early may have been closed before all of it was written.
    fn send(&mut self, bytes: &[u8]) {
        let _ = self.0.write_all(bytes);
    }

    fn receive(&mut self) -> io::Result<Frame> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head)?;
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        self.0.read_exact(&mut payload)?;
        Ok(Frame { kind: head[3], flags: head[4], payload })
    }

    /// Takes the server's settings, which come first, and waits until the connection's window is as
    /// large as a stream's.
    fn acknowledge(&mut self) {
        self.send(&frame(SETTINGS, ACK, 0, &[]));
        while self.receive().expect("a window").kind != WINDOW_UPDATE {}
    }

    /// Whether what was asked on the one stream that is open is answered with 200.
    fn is_accepted(&mut self) -> bool {
        while let Ok(frame) = self.receive() {
            match frame.kind {
                HEADERS => return frame.payload.first() == Some(&STATUS_200),
                RST_STREAM | GOAWAY => return false,
                _ => {}
            }
        }
        false
    }

    /// All that comes until a ping is answered or the connection ends, which is told.
    fn until_pong(&mut self) -> (Vec<Frame>, bool) {
        self.send(&frame(PING, 0, 0, b"are you?"));
        let mut frames = Vec::new();
        while let Ok(frame) = self.receive() {
            match frame.kind {
                PING if frame.flags & ACK != 0 => return (frames, true),
                GOAWAY => return (frames, false),
                _ => frames.push(frame),
            }
        }
        (frames, false)
    }
}

fn verdict(is_through: bool, seen: String) -> Outcome {
    if is_through { Outcome::GotThrough(seen) } else { Outcome::Stopped(seen) }
}

pub(crate) fn shut_window(ground: &Ground) -> Outcome {
    let daemon = home(ground).endpoint("container_concurrency", "1").start();
    let endpoint = identity(&daemon);
    let mut client = Client::connect(daemon.address(), &[0, INITIAL_WINDOW_SIZE, 0, 0, 0, 0]);
    let head = [head("POST", &endpoint.path("/infer")), field("inference-header-content-length", "0")].concat();
    client.send(&frame(HEADERS, END_HEADERS, 1, &head));
    client.acknowledge();
    for number in 1..=TENSOR_FRAMES {
        client.send(&frame(DATA, if number == TENSOR_FRAMES { END_STREAM } else { 0 }, 1, &[0; PART_BYTES]));
    }
    assert!(client.is_accepted(), "a good request");
    by_others(daemon.address(), &good(&endpoint), "a window that stays shut before a replica's one place")
}

pub(crate) fn continuation(ground: &Ground) -> Outcome {
    let daemon = home(ground).start();
    let memory = Memory::of_node(&daemon);
    let mut client = Client::connect(daemon.address(), &[]);
    client.send(&frame(HEADERS, END_STREAM, 1, &head("GET", "/v2")));
    let part = field("x", &"x".repeat(PART_BYTES));
    for number in 1..=PARTS {
        client.send(&frame(CONTINUATION, if number == PARTS { END_HEADERS } else { 0 }, 1, &part));
    }
    let is_taken = client.is_accepted();
    let grown = memory.grown_mib();
    let fate = if is_taken { "accepted" } else { "refused" };
    let seen = format!("a head of {} MiB is {fate}, the node grew by {grown} MiB", (PARTS * PART_BYTES) >> 20);
    verdict(is_taken || !memory.is_bounded(), seen)
}

pub(crate) fn rapid_reset(ground: &Ground) -> Outcome {
    let daemon = home(ground).start();
    let mut client = Client::connect(daemon.address(), &[]);
    let head = head("GET", "/v2/models");
    let pair = |number: u32| {
        let stream = 2 * number + 1;
        [frame(HEADERS, END_HEADERS | END_STREAM, stream, &head), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
    };
    client.send(&(0..STREAMS).flat_map(pair).collect::<Vec<_>>());
    let (_, goes_on) = client.until_pong();
    let others = is_answered(daemon.address(), &Request::get("/v2"));
    let fate = if goes_on { "the connection goes on" } else { "the connection is closed" };
    verdict(goes_on || !others, format!("{STREAMS} streams opened and reset at once: {fate}"))
}

pub(crate) fn streams(ground: &Ground) -> Outcome {
    let daemon = home(ground).set("gateway", "streams_per_connection_max", STREAMS_MAX).start();
    let endpoint = identity(&daemon);
    let mut client = Client::connect(daemon.address(), &[]);
    let head = head("POST", &endpoint.path("/infer"));
    for number in 0..STREAMS {
        client.send(&frame(HEADERS, END_HEADERS, 2 * number + 1, &head));
    }
    let (frames, goes_on) = client.until_pong();
    let refused = frames.iter().filter(|frame| frame.kind == RST_STREAM).count();
    let others = is_answered(daemon.address(), &good(&endpoint));
    verdict(goes_on && refused == 0 || !others, format!("of {STREAMS} open streams {refused} are refused"))
}

pub(crate) fn pings(ground: &Ground) -> Outcome {
    let daemon = home(ground).start();
    let memory = Memory::of_node(&daemon);
    let mut client = Client::connect(naive::door(ground, &daemon), &[]);
    client.0.set_write_timeout(Some(STALL)).unwrap();
    let flood = [frame(PING, 0, 0, b"are you?"), frame(SETTINGS, 0, 0, &[])].concat().repeat(4_096);
    let mut sent = 0;
    while sent < FLOOD_BYTES && client.0.write_all(&flood).is_ok() {
        sent += flood.len();
    }
    let grown = memory.grown_mib();
    let others = is_answered(daemon.address(), &Request::get("/v2"));
    let seen = format!("{} MiB of them are read without one answer taken, the node grew by {grown} MiB", sent >> 20);
    verdict(sent >= FLOOD_BYTES || !memory.is_bounded() || !others, seen)
}

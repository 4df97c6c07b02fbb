//! Clients that take their time.

use std::{
    collections::VecDeque,
    io::Write,
    net::TcpStream,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use dormouse_attacks::{Ground, Outcome};
use dormouse_tests::{Daemon, Endpoint, Home, Request};

use crate::target::{by_others, good, home, identity};

/// Places for connections, and far more connections than that.
const PLACES: usize = 64;
const CONNECTIONS: usize = 3 * PLACES;
/// Requests that one replica takes at a time.
const CONCURRENCY: usize = 4;
/// Between two bytes of a slow client.
const BETWEEN_BYTES: Duration = Duration::from_millis(100);
/// More than what is read of a body ahead of its replica.
const BEGUN_BYTES: usize = 256 << 10;
/// More than the buffers between a replica and a client hold, and a whole number of the matrix's rows.
const ANSWER_BYTES: usize = 24 << 20;

/// How long heads without bodies come: many times what one is waited for.
const HEADS_FOR: Duration = Duration::from_secs(8);
/// One that woke it so often would go on.
const WAKES_MAX: u32 = 3;

fn connect(daemon: &Daemon) -> TcpStream {
    TcpStream::connect(daemon.address()).unwrap()
}

pub(crate) fn idle_connections(ground: &Ground) -> Outcome {
    let daemon = home(ground).set("gateway", "connections_max", &PLACES.to_string()).start();
    let held: Vec<TcpStream> = (0..CONNECTIONS).map(|_| connect(&daemon)).collect();
    by_others(daemon.address(), &Request::get("/v2"), &format!("{} idle connections to {PLACES} places", held.len()))
}

pub(crate) fn slow_heads(ground: &Ground) -> Outcome {
    let daemon = home(ground).set("gateway", "connections_max", &PLACES.to_string()).start();
    let mut held: Vec<TcpStream> = (0..CONNECTIONS).map(|_| connect(&daemon)).collect();
    for stream in &mut held {
        let _ = stream.write_all(b"GET /v2 HTTP/1.1\r\nhost: a\r\nx: ");
    }
    trickle(&mut held, || {
        by_others(daemon.address(), &Request::get("/v2"), &format!("{CONNECTIONS} slow heads to {PLACES} places"))
    })
}

/// Sends a byte on each connection now and then, meanwhile.
fn trickle<T>(streams: &mut [TcpStream], meanwhile: impl FnOnce() -> T) -> T {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Acquire) {
                // Those that were closed tell it; the others go on.
                streams.iter_mut().for_each(|stream| drop(stream.write_all(b"x")));
                thread::sleep(BETWEEN_BYTES);
            }
        });
        let result = meanwhile();
        is_over.store(true, Ordering::Release);
        result
    })
}

fn head(endpoint: &Endpoint<'_>, bytes: usize) -> String {
    format!(
        "POST {} HTTP/1.1\r\nhost: a\r\ninference-header-content-length: 0\r\ncontent-length: {bytes}\r\n\r\n",
        endpoint.path("/infer")
    )
}

/// Bodies of which only so much comes at once, and then a byte now and then.
fn bodies(home: Home, begun: usize) -> Outcome {
    let daemon = home.endpoint("container_concurrency", &CONCURRENCY.to_string()).start();
    let endpoint = identity(&daemon);
    let mut held: Vec<TcpStream> = (0..CONCURRENCY).map(|_| connect(&daemon)).collect();
    for stream in &mut held {
        stream.write_all(head(&endpoint, 8 << 20).as_bytes()).unwrap();
        stream.write_all(&vec![0; begun]).unwrap();
    }
    if begun > 0 {
        endpoint.until_leases(CONCURRENCY as u64);
    }
    trickle(&mut held, || {
        let attack = format!("{CONCURRENCY} bodies that stop after {begun} bytes, to {CONCURRENCY} places");
        by_others(daemon.address(), &good(&endpoint), &attack)
    })
}

pub(crate) fn small_bodies(ground: &Ground) -> Outcome {
    // Nobody is waited for so long that it would end by itself.
    bodies(home(ground).set("gateway", "client_wait", "\"5m\""), 0)
}

/// Many clients send heads, leave, and come again.
pub(crate) fn only_heads(ground: &Ground) -> Outcome {
    let daemon = home(ground).endpoint("freeze_after", "\"1ms\"").endpoint("zero_after", "\"1h\"").start();
    let endpoint = identity(&daemon);
    endpoint.until_phases(&["frozen"]);
    let wakes = || daemon.metrics().sum("dormouse_starts_total", &["rung=\"frozen\""]) as u32;
    let (began, mut held) = (Instant::now(), VecDeque::new());
    while began.elapsed() < HEADS_FOR && wakes() < WAKES_MAX {
        let mut stream = connect(&daemon);
        stream.write_all(head(&endpoint, 100).as_bytes()).unwrap();
        held.push_back(stream);
        if held.len() > PLACES {
            held.pop_front();
        }
    }
    let outcome = if wakes() < WAKES_MAX { Outcome::Stopped } else { Outcome::GotThrough };
    outcome(format!("heads of {PLACES} clients for {} s woke a replica {} times", began.elapsed().as_secs(), wakes()))
}

pub(crate) fn large_bodies(ground: &Ground) -> Outcome {
    bodies(home(ground), BEGUN_BYTES)
}

pub(crate) fn unread_answers(ground: &Ground) -> Outcome {
    let daemon = home(ground).endpoint("container_concurrency", "1").start();
    let endpoint = identity(&daemon);
    let mut stream = connect(&daemon);
    stream.write_all(head(&endpoint, ANSWER_BYTES).as_bytes()).unwrap();
    stream.write_all(&vec![0; ANSWER_BYTES]).unwrap();
    let attack = format!("an answer of {} MiB that nobody reads, from a replica's one place", ANSWER_BYTES >> 20);
    let outcome = by_others(daemon.address(), &good(&endpoint), &attack);
    drop(stream);
    outcome
}

//! A wake begins with the head of its request, and nothing else does.

use std::collections::VecDeque;

use dormouse_tests::{Connection, Daemon, Endpoint, Home, Round, Script, endpoint::echo_body, wait::until_true};
use serde_json::json;

use crate::fake;

/// Heads that come together.
const HEADS: usize = 200;

fn freezing() -> Home {
    fake().endpoint("freeze_after", "\"1ms\"").endpoint("zero_after", "\"1h\"")
}

/// The head of a request whose body is `body`, on a connection of its own.
fn head(endpoint: &Endpoint<'_>, bytes: usize) -> Connection<std::net::TcpStream> {
    let mut connection = Connection::to(endpoint.daemon.address());
    let path = endpoint.path("/infer");
    let head = format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {bytes}\r\n\r\n");
    connection.write(head.as_bytes()).unwrap();
    connection
}

fn body(data: i64) -> String {
    echo_body(data).to_string()
}

fn wakes(daemon: &Daemon, rung: &str) -> f64 {
    daemon.metrics().sum("dormouse_starts_total", &[&format!("rung=\"{rung}\"")])
}

/// Sends the body and sees that the answer is to it.
fn finish(mut connection: Connection<std::net::TcpStream>, data: i64) {
    connection.write(body(data).as_bytes()).unwrap();
    assert_eq!(connection.receive().unwrap().ok().json()["outputs"][0]["data"], json!([data]));
}

#[test]
fn a_replica_is_ready_before_the_body_was_sent() {
    let daemon = fake().in_round(Round::Created).start();
    let endpoint = daemon.deploy_fake("m", Script::echo(), &[]);
    let slow = head(&endpoint, body(7).len());
    endpoint.until_phases(&["ready"]);
    assert_eq!(endpoint.replicas()[0].leases, 0, "nobody holds it");
    finish(slow, 7);
    assert_eq!(wakes(&daemon, "created"), 1.0);
}

#[test]
fn a_frozen_replica_is_thawed_by_a_head_and_stays_so_until_the_body_comes() {
    let daemon = freezing().start();
    let endpoint = daemon.deploy_fake("m", Script::echo(), &[]);
    endpoint.check_echo(1);
    endpoint.until_phases(&["frozen"]);
    let slow = head(&endpoint, body(2).len());
    endpoint.until_phases(&["ready"]);
    // It would be frozen again after a millisecond.
    for _ in 0..50 {
        assert_eq!(endpoint.phases(), ["ready"]);
    }
    finish(slow, 2);
    assert_eq!(wakes(&daemon, "frozen"), 1.0, "thawed once, for both");
}

#[test]
fn a_client_that_leaves_after_the_head_leaves_nothing() {
    let daemon = fake().endpoint("freeze_after", "\"1h\"").endpoint("zero_after", "\"1ms\"").start();
    let endpoint = daemon.deploy_fake("m", Script::echo(), &[]);
    let slow = head(&endpoint, 100);
    endpoint.until_phases(&["ready"]);
    drop(slow);
    endpoint.until_phases(&[]);
    until_true("its processes are gone", || endpoint.processes_and_makers().is_empty());
    assert_eq!(endpoint.status()["last_wake"]["outcome"], "unused");
    endpoint.check_echo(3);
}

#[test]
fn heads_without_bodies_do_not_keep_a_replica() {
    // Heads come for longer than that, and it is long enough for what they wake to be seen.
    let daemon = freezing().set("gateway", "client_wait", "\"5s\"").start();
    let endpoint = daemon.deploy_fake("m", Script::echo(), &[]);
    endpoint.check_echo(1);
    endpoint.until_phases(&["frozen"]);
    let mut held = VecDeque::new();
    let mut phase_beside_heads = || {
        held.push_back(head(&endpoint, 100));
        // No more connections than a process may have.
        if held.len() > HEADS {
            drop(held.pop_front());
        }
        endpoint.phases().remove(0)
    };
    until_true("a head thaws it", || phase_beside_heads() == "ready");
    until_true("it is frozen again", || phase_beside_heads() == "frozen");
    for _ in 0..HEADS {
        assert_eq!(phase_beside_heads(), "frozen");
    }
    assert_eq!(wakes(&daemon, "frozen"), 1.0, "woken once for all of them");
    endpoint.check_echo(2);
    endpoint.until_phases(&["frozen"]);
    let slow = head(&endpoint, body(3).len());
    endpoint.until_phases(&["ready"]);
    finish(slow, 3);
}

#[test]
fn many_heads_start_one_replica() {
    let daemon =
        fake().in_round(Round::Created).endpoint("max_replicas", "5").endpoint("container_concurrency", "1").start();
    let endpoint = daemon.deploy_fake("m", Script::echo(), &[]);
    let slow: Vec<_> = (0..HEADS).map(|_| head(&endpoint, body(4).len())).collect();
    endpoint.until_phases(&["ready"]);
    assert_eq!(wakes(&daemon, "created"), 1.0);
    for slow in slow {
        finish(slow, 4);
    }
}

#[test]
fn what_is_refused_without_a_replica_wakes_none() {
    let daemon = fake().set("gateway", "body_bytes_max", "1024").start();
    let endpoint = daemon.deploy_fake("m", Script::echo(), &[]);
    assert_eq!(head(&endpoint, 1025).receive().unwrap().status, 413);
    let unknown = Endpoint::of(&daemon, "unknown");
    assert_eq!(head(&unknown, 100).receive().unwrap().status, 404);
    let other_version = format!("{}/versions/9/infer", endpoint.path(""));
    let request = dormouse_tests::Request::new("POST", &other_version).header("content-length", "100").bare_body("");
    assert_eq!(daemon.send(&request).status, 404);
    assert_eq!(endpoint.phases(), Vec::<String>::new());
    assert_eq!(wakes(&daemon, "created"), 0.0);
}

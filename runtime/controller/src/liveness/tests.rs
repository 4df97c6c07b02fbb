#![allow(clippy::unwrap_used)]
use std::{net::TcpListener, time::Duration};

use dormouse_spec::Probe;

use super::*;
use crate::{
    address::tests::inside,
    probe::tests::{get, serve},
};

const WELL: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
const BUSY: &str = "HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n";

#[tokio::test]
async fn only_failures_in_a_row_end_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (inside, _made) = inside(port);
    let asked = serve(listener, &[BUSY, BUSY, WELL, BUSY, "garbage\r\n\r\n", BUSY]);
    let probe = Probe { period: Duration::from_millis(1), ..get("/healthz", &[]) };
    let cause = until_failed(Looks::begin(inside, probe, None)).await.told;
    let seen = format!("GET /healthz on port {port} was answered 503 Service Unavailable");
    assert_eq!(cause, format!("liveness probe: {seen}, 3 times"));
    assert_eq!(asked.iter().count(), 6);
}

#[tokio::test]
async fn once_may_be_enough() {
    let (inside, _made) = inside(1);
    let probe = Probe { period: Duration::from_millis(1), failure_threshold: 1, ..Probe::tcp() };
    let cause = until_failed(Looks::begin(inside, probe, None)).await.told;
    assert_eq!(cause, "liveness probe: nothing listens on port 1, once");
}

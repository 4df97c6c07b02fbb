#![allow(clippy::unwrap_used)]
use std::net::TcpListener;

use super::*;
use crate::{
    address::tests::inside,
    probe::tests::{get, serve},
};

const WELL: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
const BUSY: &str = "HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n";

fn every(milliseconds: u64, probe: Probe) -> Probe {
    Probe { period: Duration::from_millis(milliseconds), ..probe }
}

#[tokio::test]
async fn only_failures_in_a_row_end_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (inside, _made) = inside(port);
    let asked = serve(listener, &[BUSY, BUSY, WELL, BUSY, "garbage\r\n\r\n", BUSY]);
    let cause = until_failed(&inside, &every(1, get("/healthz", &[])), None).await.told;
    let seen = format!("GET /healthz on port {port} was answered 503 Service Unavailable");
    assert_eq!(cause, format!("liveness probe: {seen}, 3 times"));
    assert_eq!(asked.iter().count(), 6);
}

#[tokio::test]
async fn the_first_look_is_a_period_after_it_is_awake_and_not_before_its_initial_delay() {
    let (inside, _made) = inside(1);
    let once = Probe { failure_threshold: 1, ..every(20, Probe::tcp()) };
    let began = Instant::now();
    let cause = until_failed(&inside, &once, None).await.told;
    assert_eq!(cause, "liveness probe: nothing listens on port 1, once");
    assert!(began.elapsed() >= Duration::from_millis(20));
    let began = Instant::now();
    let late = Probe { initial_delay: Duration::from_millis(60), ..once };
    until_failed(&inside, &late, Some(began)).await;
    assert!(began.elapsed() >= Duration::from_millis(60));
    let long_ago = Instant::now() - Duration::from_millis(60);
    let began = Instant::now();
    until_failed(&inside, &late, Some(long_ago)).await;
    assert!((20..60).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
}

#[tokio::test]
async fn nobody_looks_any_more_once_it_is_dropped() {
    let (inside, _made) = inside(1);
    let (told, telling) = tokio::sync::oneshot::channel();
    let probe = Probe { failure_threshold: 1, ..every(5, Probe::tcp()) };
    drop(Watching::begin(inside, probe, None, |cause| told.send(cause).unwrap()));
    assert!(telling.await.is_err());
}

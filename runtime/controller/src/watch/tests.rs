#![allow(clippy::unwrap_used)]
use super::*;
use crate::{
    address::tests::inside,
    probe::tests::{get, serve},
};

const WELL: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
const BUSY: &str = "HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n";

/// Nothing listens where it looks.
fn every(milliseconds: u64) -> Probe {
    Probe { period: Duration::from_millis(milliseconds), ..Probe::tcp() }
}

#[tokio::test]
async fn looks_are_a_period_apart_and_the_first_is_not_before_the_initial_delay() {
    let (inside, _made) = inside(1);
    let began = Instant::now();
    let mut looks = Looks::begin(Arc::clone(&inside), every(20), None);
    assert_eq!(looks.next().await.unwrap_err().to_string(), "nothing listens on port 1");
    assert!(began.elapsed() >= Duration::from_millis(20));
    looks.next().await.unwrap_err();
    assert!(began.elapsed() >= Duration::from_millis(40));
    let late = Probe { initial_delay: Duration::from_millis(60), ..every(20) };
    let began = Instant::now();
    Looks::begin(Arc::clone(&inside), late.clone(), Some(began)).next().await.unwrap_err();
    assert!(began.elapsed() >= Duration::from_millis(60));
    let long_ago = Instant::now() - Duration::from_millis(60);
    let looks = Looks::begin(inside, late, Some(long_ago));
    assert!(looks.next <= Instant::now() + Duration::from_millis(20), "{looks:?}");
}

#[tokio::test]
async fn where_nothing_was_said_they_come_as_seldom_as_with_kubernetes() {
    let (inside, _made) = inside(1);
    let began = Instant::now();
    let looks = Looks::begin(inside, Probe::tcp(), None);
    assert!(looks.next >= began + Duration::from_secs(10), "{looks:?}");
}

#[tokio::test]
async fn nobody_looks_any_more_once_it_is_dropped() {
    let (inside, _made) = inside(1);
    let (told, telling) = tokio::sync::oneshot::channel();
    drop(Watching::begin(async move {
        let seen = Looks::begin(inside, every(5), None).next().await;
        told.send(seen).unwrap();
    }));
    assert!(telling.await.is_err());
}

#[tokio::test]
async fn while_it_looks_and_after_a_failure_it_doubts() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (inside, _made) = inside(listener.local_addr().unwrap().port());
    let _asked = serve(listener, &[WELL, BUSY, WELL]);
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let probe = Probe { period: Duration::from_millis(1), ..get("/", &[]) };
    let mut looks = Looks::begin(inside, probe, None).telling_doubts(move |doubts| tell.send(doubts).unwrap());
    for failed in [false, true, false] {
        assert_eq!(looks.next().await.is_err(), failed);
        assert_eq!([told.try_recv().unwrap(), told.try_recv().unwrap()], [true, failed]);
    }
}

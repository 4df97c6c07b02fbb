#![allow(clippy::unwrap_used)]
use std::net::TcpListener;

use super::*;
use crate::{
    address::tests::inside,
    probe::tests::{get, serve},
};

/// What was seen until it was ready.
async fn watch(inside: Arc<Inside>, probes: &[Probe]) -> Vec<String> {
    let seen = Mutex::new(Vec::new());
    until_ready(inside, probes, |not_ready| seen.lock().unwrap().push(not_ready.to_string())).await;
    seen.into_inner().unwrap()
}

#[tokio::test]
async fn it_is_ready_once_something_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (inside, _made) = inside(address.port());
    let (told, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let looking = tokio::spawn(async move {
        until_ready(inside, &[Probe::tcp()], |not_ready| drop(told.send(not_ready.to_string()))).await;
    });
    // It was looked for in vain, and then it is there.
    assert_eq!(seen.recv().await.unwrap(), format!("nothing listens on port {}", address.port()));
    assert!(!looking.is_finished(), "it was taken for ready though nothing listened");
    let _listener = TcpListener::bind(address).unwrap();
    looking.await.unwrap();
}

#[tokio::test]
async fn an_answer_from_200_to_399_is_ready_and_no_other() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (inside, _made) = inside(port);
    let asked = serve(
        listener,
        &[
            "HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n",
            "garbage\r\n\r\n",
            "HTTP/1.1 399 Fine\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        ],
    );
    let twice = Probe { success_threshold: 2, ..get("/ready?full=1", &[("X-Probe", "me")]) };
    let seen = watch(inside, &[twice]).await;
    assert_eq!(seen[0], format!("GET /ready?full=1 on port {port} was answered 503 Service Unavailable"));
    assert!(seen[1].contains("was not answered"), "{}", seen[1]);
    assert_eq!(seen.len(), 2);
    let head = asked.recv().unwrap().to_ascii_lowercase();
    assert!(head.starts_with("get /ready?full=1 http/1.1\r\n"), "{head}");
    for line in [format!("host: 127.0.0.1:{port}"), "x-probe: me".to_owned(), "user-agent: kube-probe/".to_owned()] {
        assert!(head.contains(&line), "{line} in {head}");
    }
}

const BUSY: &str = "HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n";
const WELL: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

#[tokio::test]
async fn one_is_asked_after_the_other_went_well() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (inside, _made) = inside(listener.local_addr().unwrap().port());
    let asked = serve(listener, &[BUSY, WELL, BUSY, WELL]);
    let seen = watch(inside, &[get("/startup", &[]), get("/ready", &[])]).await;
    assert_eq!(seen.len(), 2, "{seen:?}");
    let paths: Vec<_> = asked.iter().take(4).map(|head| head.split(' ').nth(1).unwrap().to_owned()).collect();
    assert_eq!(paths, ["/startup", "/startup", "/ready", "/ready"]);
}

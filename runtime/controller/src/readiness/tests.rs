#![allow(clippy::unwrap_used)]
use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    thread,
};

use super::*;
use crate::address::tests::inside;

/// Answers each connection with the next of these, and tells what was asked.
fn serve(listener: TcpListener, answers: &'static [&'static str]) -> mpsc::Receiver<String> {
    let (asked, told) = mpsc::channel();
    thread::spawn(move || {
        for answer in answers {
            let (stream, _) = listener.accept().unwrap();
            asked.send(answer_one(stream, answer)).unwrap();
        }
    });
    told
}

fn answer_one(mut stream: TcpStream, answer: &str) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    stream.write_all(answer.as_bytes()).unwrap();
    String::from_utf8(head).unwrap()
}

fn get(path: &str, headers: &[(&str, &str)]) -> Probe {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Probe::with(ProbeHandler::HttpGet { port: None, path: path.to_owned(), headers })
}

/// What was seen until it was ready.
async fn watch(inside: Arc<Inside>, probe: &Probe) -> Vec<String> {
    let seen = Mutex::new(Vec::new());
    until_ready(inside, probe, |not_ready| seen.lock().unwrap().push(not_ready.to_string())).await;
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
        until_ready(inside, &Probe::tcp(), |not_ready| drop(told.send(not_ready.to_string()))).await;
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
    let seen = watch(inside, &twice).await;
    assert_eq!(seen[0], format!("GET /ready?full=1 on port {port} was answered 503 Service Unavailable"));
    assert!(seen[1].contains("was not answered"), "{}", seen[1]);
    assert_eq!(seen.len(), 2);
    let head = asked.recv().unwrap().to_ascii_lowercase();
    assert!(head.starts_with("get /ready?full=1 http/1.1\r\n"), "{head}");
    for line in [format!("host: 127.0.0.1:{port}"), "x-probe: me".to_owned(), "user-agent: kube-probe/".to_owned()] {
        assert!(head.contains(&line), "{line} in {head}");
    }
}

#[tokio::test]
async fn silence_is_late_and_a_path_that_is_none_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (inside, _made) = inside(listener.local_addr().unwrap().port());
    let hasty = Probe { timeout: Duration::from_millis(30), ..get("/", &[]) };
    let late = look(&inside, &hasty).await.unwrap_err().to_string();
    assert!(late.contains("did not answer within 30 ms"), "{late}");
    let wrong = look(&inside, &get("no path", &[])).await.unwrap_err().to_string();
    assert!(wrong.contains("cannot be asked"), "{wrong}");
}

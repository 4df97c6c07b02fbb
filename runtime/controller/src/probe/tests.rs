#![allow(clippy::unwrap_used)]
use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, mpsc},
    thread,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Request, Response, body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::mpsc as channel;

use super::*;
use crate::address::tests::{inside, inside_speaking};

/// Answers each connection with the next of these, and tells what was asked.
pub(crate) fn serve(listener: TcpListener, answers: &'static [&'static str]) -> mpsc::Receiver<String> {
    let (asked, told) = mpsc::channel();
    thread::spawn(move || {
        for answer in answers {
            let (stream, _) = listener.accept().unwrap();
            let _ = asked.send(answer_one(stream, answer));
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

pub(crate) fn get(path: &str, headers: &[(&str, &str)]) -> Probe {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Probe::with(ProbeHandler::HttpGet { port: None, path: path.to_owned(), headers })
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

/// A server of gRPC that answers each connection's check with these trailers and this message.
async fn serve_grpc(answers: Vec<(&'static str, &'static [u8])>) -> (Arc<Inside>, channel::UnboundedReceiver<Bytes>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (inside, _made) = inside(listener.local_addr().unwrap().port());
    let (asked, told) = channel::unbounded_channel();
    tokio::spawn(async move {
        for (status, message) in answers {
            let (stream, _) = listener.accept().await.unwrap();
            let asked = asked.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let asked = asked.clone();
                async move {
                    assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
                    assert_eq!(
                        (&request.headers()["te"], &request.headers()["content-type"]),
                        (&"trailers".parse().unwrap(), &"application/grpc".parse().unwrap())
                    );
                    asked.send(request.into_body().collect().await.unwrap().to_bytes()).unwrap();
                    let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), status.parse().unwrap())]);
                    let body = Full::new(Bytes::from_static(message)).with_trailers(async move { Some(Ok(trailers)) });
                    Ok::<_, std::convert::Infallible>(Response::new(body))
                }
            });
            let connection = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service);
            tokio::spawn(connection);
        }
    });
    (inside, told)
}

#[tokio::test]
async fn grpc_is_well_where_it_says_serving() {
    let (inside, mut asked) = serve_grpc(vec![
        ("0", b"\0\0\0\0\x02\x08\x01"),
        ("0", b"\0\0\0\0\x02\x08\x02"),
        ("12", b""),
        ("0", b"\0\0"),
        ("0", &[0; 5000]),
    ])
    .await;
    let probe = Probe::with(ProbeHandler::Grpc { port: None, service: "a.B".to_owned() });
    look(&inside, &probe).await.unwrap();
    assert_eq!(&asked.recv().await.unwrap()[..], b"\0\0\0\0\x05\x0a\x03a.B");
    let port = inside.port();
    for said in ["NOT_SERVING", "status 12", "no HealthCheckResponse", "more than 4096 bytes"] {
        let failed = look(&inside, &probe).await.unwrap_err().to_string();
        assert_eq!(failed, format!("the gRPC health check of `a.B` on port {port} was answered {said}"));
    }
}

#[tokio::test]
async fn where_requests_go_a_get_speaks_what_is_spoken_there() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (inside, _made) = inside_speaking(AppProtocol::H2c, port);
    let serving = tokio::spawn(async move {
        let service = service_fn(|request: Request<Incoming>| async move {
            let (uri, agent) = (request.uri().to_string(), request.headers()["user-agent"].clone());
            assert!(agent.to_str().unwrap().starts_with("kube-probe/"));
            let status = if uri.starts_with("http://own.example.com/well?") { 204 } else { 500 };
            Response::builder().status(status).body(Full::<Bytes>::default())
        });
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let connection = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service);
            tokio::spawn(connection);
        }
    });
    look(&inside, &get("/well?", &[("Host", "own.example.com")])).await.unwrap();
    let failed = look(&inside, &get("/ill", &[])).await.unwrap_err().to_string();
    assert_eq!(failed, format!("GET /ill on port {port} was answered 500 Internal Server Error"));
    serving.abort();
}

#[tokio::test]
async fn what_speaks_no_grpc_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (inside, _made) = inside(listener.local_addr().unwrap().port());
    let _asked = serve(listener, &["HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"]);
    let probe = Probe::with(ProbeHandler::Grpc { port: None, service: String::new() });
    let failed = look(&inside, &probe).await.unwrap_err().to_string();
    assert!(failed.starts_with("the gRPC health check on port"), "{failed}");
    assert!(failed.contains("was not answered"), "{failed}");
}

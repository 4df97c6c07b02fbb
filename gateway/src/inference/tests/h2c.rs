//! Exchanges with an image that speaks HTTP/2 and nothing else.

use std::{
    convert::Infallible,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Version};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use hyper::{body::Incoming, client, server, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
    time::timeout,
};

use super::{
    frames,
    front::{self, Front, PATIENCE},
    replica::Replica,
};

/// Enough for all tasks of a test to do what they can.
const TURNS: usize = 1000;

/// A body whose parts are the test's.
struct Parts(mpsc::UnboundedReceiver<io::Result<Frame<Bytes>>>);

impl Body for Parts {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0.poll_recv(cx)
    }
}

type Sender = mpsc::UnboundedSender<io::Result<Frame<Bytes>>>;

fn parts() -> (Sender, Parts) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (sender, Parts(receiver))
}

fn data(bytes: &'static str) -> io::Result<Frame<Bytes>> {
    Ok(Frame::data(Bytes::from_static(bytes.as_bytes())))
}

fn trailers() -> io::Result<Frame<Bytes>> {
    Ok(Frame::trailers(HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())])))
}

/// A request at the replica, and where its answer goes.
struct Arrived {
    request: Request<Incoming>,
    answer: tokio::sync::oneshot::Sender<Response<Parts>>,
}

/// What comes on one connection. One that is not answered is reset.
fn serve(replica: Replica) -> mpsc::UnboundedReceiver<Arrived> {
    let (arrived, requests) = mpsc::unbounded_channel();
    let service = service_fn(move |request| {
        let (answer, answered) = tokio::sync::oneshot::channel();
        arrived.send(Arrived { request, answer }).unwrap();
        answered
    });
    let connection = server::conn::http2::Builder::new(TokioExecutor::new());
    tokio::spawn(connection.serve_connection(TokioIo::new(replica.stream), service));
    requests
}

/// The client's end of a connection over HTTP/2.
async fn client(front: &Front) -> client::conn::http2::SendRequest<Parts> {
    let stream = TokioIo::new(front.client().await);
    let (sender, connection) = client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn post(body: Parts) -> Request<Parts> {
    let request = Request::post("http://hello.example.com/a.B/Call").header("te", "trailers");
    request.header("content-type", "application/grpc").body(body).unwrap()
}

async fn next(body: &mut Incoming) -> Frame<Bytes> {
    timeout(PATIENCE, body.frame()).await.unwrap().unwrap().unwrap()
}

async fn next_data(body: &mut Incoming) -> Bytes {
    next(body).await.into_data().unwrap()
}

#[tokio::test]
async fn a_request_of_http_1_becomes_one_of_http_2_and_connections_are_used_again() {
    let mut front = Front::h2c().await;
    let mut client = front.client().await;
    let mut requests = None;
    for number in 0..2 {
        let text = "PUT /a?b HTTP/1.1\r\nhost: hello.example.com\r\nconnection: x-mine\r\nx-mine: 1\r\nte: trailers\r\n\
                    transfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n";
        client.write_all(text.as_bytes()).await.unwrap();
        if number == 0 {
            requests = Some(serve(front.connected().await));
        }
        let Arrived { request, answer } = requests.as_mut().unwrap().recv().await.unwrap();
        let (head, body) = request.into_parts();
        assert_eq!((head.version, head.uri.to_string()), (Version::HTTP_2, "http://hello.example.com/a?b".to_owned()));
        assert!(
            ["connection", "x-mine", "transfer-encoding", "host"].iter().all(|name| !head.headers.contains_key(*name))
        );
        assert_eq!(
            (&head.headers["te"], &head.headers["x-forwarded-for"]),
            (&"trailers".parse().unwrap(), &"127.0.0.1".parse().unwrap())
        );
        assert_eq!(body.collect().await.unwrap().to_bytes(), "body");
        let (parts, body) = parts();
        answer.send(Response::builder().header("content-length", "6").body(body).unwrap()).unwrap_or_else(|_| panic!());
        parts.send(data("answer")).unwrap();
        drop(parts);
        let response = front::response(&mut client).await;
        assert!(response.starts_with("HTTP/1.1 200 OK\r\n") && response.ends_with("answer"), "{response}");
        front.given_back().await;
    }
    assert_eq!(front.connections_made(), 1);
}

#[tokio::test]
async fn both_sides_of_a_stream_speak_in_turns_and_its_trailers_arrive() {
    let mut front = Front::h2c().await;
    let mut client = client(&front).await;
    let (says, body) = parts();
    let answered = tokio::spawn(client.send_request(post(body)));
    let mut requests = serve(front.connected().await);
    let Arrived { request, answer } = requests.recv().await.unwrap();
    let (answers, body) = parts();
    assert!(answer.send(Response::new(body)).is_ok());
    let mut heard = answered.await.unwrap().unwrap().into_body();
    let mut asked = request.into_body();
    for word in ["one", "two", "three"] {
        says.send(data(word)).unwrap();
        assert_eq!(next_data(&mut asked).await, word);
        answers.send(data(word)).unwrap();
        assert_eq!(next_data(&mut heard).await, word);
    }
    drop(says);
    assert!(asked.collect().await.unwrap().to_bytes().is_empty());
    answers.send(trailers()).unwrap();
    drop(answers);
    assert_eq!(next(&mut heard).await.into_trailers().unwrap()["grpc-status"], "0");
    front.given_back().await;
}

#[tokio::test]
async fn a_client_that_cancels_resets_the_stream() {
    let mut front = Front::h2c().await;
    let mut client = client(&front).await;
    let (says, body) = parts();
    let answered = tokio::spawn(client.send_request(post(body)));
    says.send(data("one")).unwrap();
    let mut requests = serve(front.connected().await);
    let Arrived { request, answer } = requests.recv().await.unwrap();
    let mut asked = request.into_body();
    assert_eq!(next_data(&mut asked).await, "one");
    let (answers, body) = parts();
    assert!(answer.send(Response::new(body)).is_ok());
    drop(answered.await.unwrap().unwrap());
    drop(says);
    front.given_back().await;
    // Whoever answers learns that nobody reads it.
    timeout(PATIENCE, answers.closed()).await.unwrap();
}

#[tokio::test]
async fn a_stream_that_is_reset_is_502_at_once_and_the_connection_serves_on() {
    let mut front = Front::h2c().await;
    let mut client = front.client().await;
    let get = "GET / HTTP/1.1\r\nhost: hello.example.com\r\n\r\n";
    let began = Instant::now();
    client.write_all(get.as_bytes()).await.unwrap();
    let mut requests = serve(front.connected().await);
    drop(requests.recv().await.unwrap().answer);
    let response = front::response(&mut client).await;
    assert!(response.starts_with("HTTP/1.1 502 ") && response.contains("broke off"), "{response}");
    assert!(began.elapsed() < super::super::exchange::CAUSE_WAIT_OF_IMAGE, "its replica lives");
    front.given_back().await;
}

#[tokio::test]
async fn what_speaks_no_http_2_is_502() {
    let mut front = Front::h2c().await;
    let mut client = front.client().await;
    client.write_all(b"GET / HTTP/1.1\r\nhost: hello.example.com\r\n\r\n").await.unwrap();
    let mut replica = front.connected().await;
    replica.write("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
    drop(replica);
    let response = front::response(&mut client).await;
    assert!(response.starts_with("HTTP/1.1 502 "), "{response}");
    front.given_back().await;
}

#[tokio::test]
async fn an_answer_goes_on_after_the_replica_takes_no_more_requests() {
    let mut front = Front::h2c().await;
    let mut client = client(&front).await;
    let (says, body) = parts();
    drop(says);
    let answered = tokio::spawn(client.send_request(post(body)));
    let (telling, told) = tokio::sync::oneshot::channel::<()>();
    let (answers, body) = parts();
    let replica = front.connected().await;
    let serving = tokio::spawn(async move {
        let body = std::sync::Mutex::new(Some(body));
        let service = service_fn(move |_: Request<Incoming>| {
            let body = body.lock().unwrap().take().unwrap();
            async move { Ok::<_, Infallible>(Response::new(body)) }
        });
        let connection = server::conn::http2::Builder::new(TokioExecutor::new());
        let connection = connection.serve_connection(TokioIo::new(replica.stream), service);
        tokio::pin!(connection);
        tokio::select! {
            _ = &mut connection => return,
            _ = told => connection.as_mut().graceful_shutdown(),
        }
        let _ = connection.await;
    });
    let response = answered.await.unwrap().unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let mut heard = response.into_body();
    answers.send(data("before")).unwrap();
    assert_eq!(next_data(&mut heard).await, "before");
    telling.send(()).unwrap();
    // Longer than a connection that nobody needs any more is kept.
    for _ in 0..TURNS {
        tokio::task::yield_now().await;
    }
    tokio::time::pause();
    tokio::time::advance(super::super::connection::FAREWELL * 2).await;
    tokio::time::resume();
    answers.send(data("after")).unwrap();
    answers.send(trailers()).unwrap();
    drop(answers);
    assert_eq!(next_data(&mut heard).await, "after");
    assert!(next(&mut heard).await.is_trailers());
    front.given_back().await;
    serving.await.unwrap();
}

/// An answer of one part, after which its replica sends a reset without an error; as the client gets it.
async fn reset_after(part: &str, is_last: bool) -> String {
    let mut front = Front::h2c().await;
    let mut client = front.client().await;
    client.write_all(b"GET / HTTP/1.1\r\nhost: hello.example.com\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut replica = front.connected().await;
    replica.stream.write_all(&frames::settings()).await.unwrap();
    frames::read_to_a_head(&mut replica.stream).await;
    let answer = [frames::head(&[frames::STATUS_200]), frames::data(part, is_last)].concat();
    replica.stream.write_all(&answer).await.unwrap();
    let mut received = Vec::new();
    while !String::from_utf8_lossy(&received).contains(part) {
        assert!(timeout(PATIENCE, client.read_buf(&mut received)).await.unwrap().unwrap() > 0);
    }
    replica.stream.write_all(&frames::reset()).await.unwrap();
    // A reset of the client's is an end, too.
    let _ = timeout(PATIENCE, client.read_to_end(&mut received)).await.unwrap();
    front.given_back().await;
    String::from_utf8(received).unwrap()
}

#[tokio::test]
async fn an_answer_that_is_reset_without_an_error_is_cut_off_and_one_that_had_ended_is_whole() {
    let cut_off = reset_after("begun", false).await;
    assert!(cut_off.starts_with("HTTP/1.1 200 ") && !cut_off.ends_with("0\r\n\r\n"), "{cut_off}");
    let whole = reset_after("all", true).await;
    assert!(whole.contains("all") && whole.ends_with("0\r\n\r\n"), "{whole}");
}

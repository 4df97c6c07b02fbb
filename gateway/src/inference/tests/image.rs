//! Exchanges with an image, whose server speaks HTTP as it likes.

use std::time::Duration;

use dormouse_spec::AppProtocol;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{
    super::grant::Payload,
    front::{self, Front, PATIENCE},
    replica::{ANSWER, Replica},
};

/// Reads until what came ends with this.
async fn read_to(client: &mut TcpStream, end: &str) -> String {
    let mut received = Vec::new();
    while !received.ends_with(end.as_bytes()) {
        let read = timeout(PATIENCE, client.read_buf(&mut received)).await.unwrap().unwrap();
        assert!(read > 0, "it broke off: {}", String::from_utf8_lossy(&received));
    }
    String::from_utf8(received).unwrap()
}

async fn read_to_end(client: &mut TcpStream) -> String {
    let mut received = Vec::new();
    timeout(PATIENCE, client.read_to_end(&mut received)).await.unwrap().unwrap();
    String::from_utf8(received).unwrap()
}

/// What the replica gets of a request, and the client of an answer to it.
async fn exchanged(request: &str, answer: &str, answer_end: &str) -> (String, String) {
    let mut front = Front::image().await;
    let mut client = front.client().await;
    client.write_all(request.as_bytes()).await.unwrap();
    let mut replica = front.connected().await;
    let received = replica.request(0).await;
    replica.write(answer).await;
    let response = read_to(&mut client, answer_end).await;
    front.given_back().await;
    (received, response)
}

fn header<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.filter(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
}

#[tokio::test]
async fn a_request_reaches_an_image_as_it_is_with_who_asked_and_for_what_host() {
    let request = "PROPFIND /a%20b/../c?x=1&y=%2F HTTP/1.1\r\nhost: hello.example.com:8080\r\nconnection: x-private\r\n\
                   x-private: 1\r\nforwarded: for=10.0.0.1\r\nx-forwarded-for: 10.0.0.1\r\nauthorization: mine\r\n\r\n";
    let (received, response) = exchanged(request, ANSWER, "answer").await;
    assert!(received.starts_with("PROPFIND /a%20b/../c?x=1&y=%2F HTTP/1.1\r\n"), "{received}");
    assert_eq!(header(&received, "host"), ["hello.example.com:8080"]);
    assert_eq!(header(&received, "authorization"), ["mine"]);
    assert_eq!(header(&received, "x-forwarded-host"), ["hello.example.com:8080"]);
    assert_eq!(header(&received, "x-forwarded-proto"), ["http"]);
    assert_eq!(header(&received, "x-forwarded-for"), ["10.0.0.1", "127.0.0.1"]);
    let forwarded = "for=10.0.0.1, for=127.0.0.1;host=\"hello.example.com:8080\";proto=http";
    assert_eq!(header(&received, "forwarded"), [forwarded]);
    assert_eq!(header(&received, "x-request-id"), ["id-1"]);
    assert!(header(&received, "x-private").is_empty() && header(&received, "connection").is_empty(), "{received}");
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
}

#[tokio::test]
async fn parts_of_an_answer_arrive_before_the_next_is_there() {
    let mut front = Front::image().await;
    let mut client = front.client().await;
    client.write_all(b"GET /events HTTP/1.1\r\nhost: h.localhost\r\n\r\n").await.unwrap();
    let mut replica = front.connected().await;
    replica.request(0).await;
    replica.write("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n").await;
    let head = read_to(&mut client, "\r\n\r\n").await;
    assert_eq!(header(&head, "content-type"), ["text/event-stream"]);
    for event in ["data: 1\n\n", "data: 2\n\n", "data: 3\n\n"] {
        replica.write(&format!("{:x}\r\n{event}\r\n", event.len())).await;
        read_to(&mut client, &format!("{event}\r\n")).await;
    }
    replica.write("0\r\n\r\n").await;
    read_to(&mut client, "0\r\n\r\n").await;
    front.given_back().await;
}

#[tokio::test]
async fn a_body_streams_to_an_image() {
    let mut front = Front::image().await;
    let mut client = front.client().await;
    client.write_all(b"PUT / HTTP/1.1\r\nhost: h.localhost\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
    client.write_all(b"5\r\nfirst\r\n").await.unwrap();
    let mut replica = front.connected().await;
    let received = replica.request("5\r\nfirst\r\n".len()).await;
    assert_eq!(header(&received, "transfer-encoding"), ["chunked"]);
    assert!(received.ends_with("\r\n\r\n5\r\nfirst\r\n"), "{received}");
    client.write_all(b"6\r\nsecond\r\n0\r\n\r\n").await.unwrap();
    assert_eq!(replica.bytes("6\r\nsecond\r\n0\r\n\r\n".len()).await, b"6\r\nsecond\r\n0\r\n\r\n");
    replica.write(ANSWER).await;
    assert!(front::response(&mut client).await.ends_with("answer"));
    front.given_back().await;
}

#[tokio::test]
async fn a_body_of_unknown_length_is_told_also_with_get() {
    let mut front = Front::image().await;
    let mut client = front.client().await;
    client.write_all(b"GET / HTTP/1.1\r\nhost: h.localhost\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
    client.write_all(b"5\r\nquery\r\n0\r\n\r\n").await.unwrap();
    let mut replica = front.connected().await;
    let received = replica.request("5\r\nquery\r\n0\r\n\r\n".len()).await;
    assert!(received.ends_with("\r\n\r\n5\r\nquery\r\n0\r\n\r\n"), "{received}");
    replica.write(ANSWER).await;
    front.given_back().await;
}

#[tokio::test]
async fn a_client_that_waits_to_be_told_sends_its_body() {
    let mut front = Front::image().await;
    let mut client = front.client().await;
    let head = b"POST / HTTP/1.1\r\nhost: h.localhost\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\n";
    client.write_all(head).await.unwrap();
    assert_eq!(read_to(&mut client, "\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.write_all(b"body").await.unwrap();
    let mut replica = front.connected().await;
    let received = replica.request(4).await;
    assert!(received.ends_with("\r\n\r\nbody") && header(&received, "expect").is_empty(), "{received}");
    replica.write(ANSWER).await;
    assert!(front::response(&mut client).await.ends_with("answer"));
}

#[tokio::test]
async fn answers_without_a_body_are_passed_on_as_such() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n";
    let (_, head) = exchanged("HEAD / HTTP/1.1\r\nhost: h.localhost\r\n\r\n", answer, "\r\n\r\n").await;
    assert_eq!(header(&head, "content-length"), ["1234"]);
    let (_, head) =
        exchanged("GET / HTTP/1.1\r\nhost: h.localhost\r\n\r\n", "HTTP/1.1 204 No Content\r\n\r\n", "\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 204 ") && header(&head, "content-length").is_empty(), "{head}");
    let unchanged = "HTTP/1.1 304 Not Modified\r\netag: \"1\"\r\n\r\n";
    let (_, head) = exchanged("GET / HTTP/1.1\r\nhost: h.localhost\r\n\r\n", unchanged, "\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 304 ") && head.contains("etag: \"1\""), "{head}");
}

#[tokio::test]
async fn a_client_and_a_server_of_http_1_0_understand_each_other() {
    let mut front = Front::image().await;
    let mut client = front.client().await;
    client.write_all(b"GET / HTTP/1.0\r\nhost: h.localhost\r\n\r\n").await.unwrap();
    let mut replica = front.connected().await;
    assert!(replica.request(0).await.starts_with("GET / HTTP/1.1\r\n"));
    replica.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\npiece\r\n0\r\n\r\n").await;
    let response = read_to_end(&mut client).await;
    assert!(response.starts_with("HTTP/1.0 200 ") && response.ends_with("\r\n\r\npiece"), "{response}");
    assert!(header(&response, "transfer-encoding").is_empty(), "{response}");
    front.given_back().await;
    front.keep(replica);

    let mut client = front.client().await;
    client.write_all(b"GET / HTTP/1.1\r\nhost: h.localhost\r\n\r\n").await.unwrap();
    let mut replica = front.connected().await;
    replica.request(0).await;
    replica.write("HTTP/1.0 200 OK\r\n\r\nto the end").await;
    drop(replica);
    let response = read_to(&mut client, "0\r\n\r\n").await;
    assert!(response.starts_with("HTTP/1.1 200 ") && response.contains("to the end"), "{response}");
}

#[tokio::test]
async fn trailers_pass_where_they_are_announced() {
    let request = "GET / HTTP/1.1\r\nhost: h.localhost\r\nte: trailers\r\nconnection: te\r\n\r\n";
    let answer =
        "HTTP/1.1 200 OK\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx-sum: 97\r\n\r\n";
    let (received, response) = exchanged(request, answer, "x-sum: 97\r\n\r\n").await;
    assert_eq!((header(&received, "te"), header(&received, "connection")), (vec!["trailers"], vec!["te"]));
    assert_eq!(header(&response, "trailer"), ["x-sum"]);
}

#[tokio::test]
async fn a_client_of_http_2_reaches_an_image_with_its_host_and_one_line_of_cookies() {
    let mut front = Front::image().await;
    let stream = TokioIo::new(front.client().await);
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get("http://hello.example.com/a?b=c").header("cookie", "a=1").header("cookie", "b=2");
    let answer = sender.send_request(request.body(Empty::<bytes::Bytes>::new()).unwrap());
    let answer = tokio::spawn(answer);
    let mut replica = front.connected().await;
    let received = replica.request(0).await;
    assert!(received.starts_with("GET /a?b=c HTTP/1.1\r\n"), "{received}");
    assert_eq!(header(&received, "host"), ["hello.example.com"]);
    assert_eq!(header(&received, "cookie"), ["a=1; b=2"]);
    replica.write(ANSWER).await;
    let answer = timeout(PATIENCE, answer).await.unwrap().unwrap().unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "answer");
    front.given_back().await;
}

#[tokio::test]
async fn an_image_that_does_not_answer_in_time_is_504_and_is_not_asked_whether_it_lives() {
    let mut front = Front::of(Payload::Image(AppProtocol::Http1), Duration::from_secs(1)).await;
    let mut client = front.client().await;
    client.write_all(b"GET / HTTP/1.1\r\nhost: h.localhost\r\n\r\n").await.unwrap();
    let mut replica = front.connected().await;
    let response = front::response(&mut client).await;
    assert!(response.starts_with("HTTP/1.1 504 ") && response.contains("in the replica"), "{response}");
    replica.read_to_end().await;
    front.given_back().await;
    assert_eq!(front.connections_made(), 1);
    assert!(!front.was_told_silent());
    assert_eq!(front.told_deaf(), 0);
}

#[tokio::test]
async fn a_client_that_leaves_within_a_stream_ends_its_work() {
    let mut front = Front::image().await;
    let mut client = front.client().await;
    client.write_all(b"GET / HTTP/1.1\r\nhost: h.localhost\r\n\r\n").await.unwrap();
    let mut replica = front.connected().await;
    replica.request(0).await;
    replica.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n").await;
    read_to(&mut client, "1\r\na\r\n").await;
    drop(client);
    front.given_back().await;
    assert_eq!(front.told_served(), 1);
    replica.read_to_end().await;
}

#[tokio::test]
async fn what_listens_no_more_is_found_within_a_short_deadline_too() {
    let mut front = Front::of(Payload::Image(AppProtocol::Http1), Duration::from_secs(1)).await;
    front.refuse_connections().await;
    front.grant_next([2, 1, 1]);
    let mut client = front.client().await;
    client.write_all(b"GET / HTTP/1.1\r\nhost: h.localhost\r\n\r\n").await.unwrap();
    let response = front::response(&mut client).await;
    assert!(response.starts_with("HTTP/1.1 503 "), "{response}");
    assert_eq!(front.told_deaf(), 1);
}

#[tokio::test]
async fn only_a_replica_that_refused_a_request_twice_has_nothing_that_listens() {
    let mut front = Front::image().await;
    let mut streaming = front.client().await;
    streaming.write_all(b"GET / HTTP/1.1\r\nhost: h.localhost\r\n\r\n").await.unwrap();
    let mut replica = front.connected().await;
    replica.request(0).await;
    front.refuse_connections().await;
    // It is given to another one after that.
    for (replicas, told) in [(vec![2, 1, 1], 1), (vec![2, 1], 0)] {
        front.grant_next(replicas.clone());
        let mut client = front.client().await;
        client.write_all(b"GET / HTTP/1.1\r\nhost: h.localhost\r\nconnection: close\r\n\r\n").await.unwrap();
        let response = front::response(&mut client).await;
        assert!(response.starts_with("HTTP/1.1 503 "), "{response}");
        assert_eq!(front.told_deaf(), told, "{replicas:?}");
        assert_eq!(front.grants_left(), 0, "{replicas:?}");
        drop(client);
    }
    assert!(!front.was_told_silent());
    replica.write(ANSWER).await;
    assert!(front::response(&mut streaming).await.ends_with("answer"), "it was at work all the while");
}

/// What becomes of a second request, on a connection that is closed after it came and so much was answered; and how many
/// connections there were. A third is answered, where there is one.
async fn lost_on_a_kept_connection(method: &str, answer: &str) -> (String, usize) {
    let mut front = Front::image().await;
    let mut client = front.client().await;
    let request = format!("{method} / HTTP/1.1\r\nhost: h.localhost\r\ncontent-length: 0\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    let mut replica = front.connected().await;
    replica.request(0).await;
    replica.write(ANSWER).await;
    front::response(&mut client).await;
    front.given_back().await;
    client.write_all(request.as_bytes()).await.unwrap();
    replica.request(0).await;
    replica.write(answer).await;
    drop(replica);
    let answered = tokio::select! {
        response = front::response(&mut client) => response,
        mut again = async {
            let mut again = front.connected().await;
            again.request(0).await;
            again
        } => {
            again.write(ANSWER).await;
            front::response(&mut client).await
        }
    };
    (answered, front.connections_made())
}

#[tokio::test]
async fn a_request_that_may_be_repeated_is_not_lost_with_a_kept_connection_that_closes() {
    for method in ["GET", "PUT", "DELETE"] {
        let (response, connections) = lost_on_a_kept_connection(method, "").await;
        assert!(response.starts_with("HTTP/1.1 200 ") && connections == 2, "{method}: {response}");
    }
    for (method, answer) in [("POST", ""), ("GET", "HTTP/1.1 2")] {
        let (response, connections) = lost_on_a_kept_connection(method, answer).await;
        assert!(response.starts_with("HTTP/1.1 502 ") && connections == 1, "{method} {answer}: {response}");
    }
}

#[tokio::test]
async fn who_tries_again_makes_a_connection_of_its_own() {
    let mut front = Front::image().await;
    let mut client = front.client().await;
    client.write_all(b"GET / HTTP/1.1\r\nhost: h.localhost\r\n\r\n").await.unwrap();
    let mut replica = front.connected().await;
    replica.request(0).await;
    replica.write(ANSWER).await;
    front::response(&mut client).await;
    front.given_back().await;
    front.refuse_connections().await;
    // The second is the one of which a connection was kept.
    front.grant_next([1, 2]);
    client.write_all(b"GET / HTTP/1.1\r\nhost: h.localhost\r\n\r\n").await.unwrap();
    let response = front::response(&mut client).await;
    assert!(response.starts_with("HTTP/1.1 503 "), "{response}");
}

/// What a client gets of an answer that is none. The image goes away after it.
async fn hostile(answer: &[u8]) -> String {
    let mut front = Front::image().await;
    let mut client = front.client().await;
    client.write_all(b"GET / HTTP/1.1\r\nhost: h.localhost\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut replica: Replica = front.connected().await;
    replica.request(0).await;
    // It may be cut off before it said all of it.
    let _ = replica.stream.write_all(answer).await;
    drop(replica);
    let response = read_to_end(&mut client).await;
    front.given_back().await;
    response
}

#[tokio::test]
async fn an_answer_that_is_none_is_502() {
    let giant = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "a".repeat(256 << 10));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(1_000));
    let answers: [&[u8]; 9] = [
        b"",
        b"\x00\xff\x16\x03\x01 garbage\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\na",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\na",
        b"HTTP/1.1 200 OK\r\nx\r\n\r\n",
        giant.as_bytes(),
        many.as_bytes(),
    ];
    for answer in answers {
        let response = hostile(answer).await;
        let shown = String::from_utf8_lossy(&answer[..answer.len().min(60)]);
        assert!(
            response.starts_with("HTTP/1.1 502 ") && response.contains("the replica broke off"),
            "{shown}: {response}"
        );
    }
}

#[tokio::test]
async fn a_switch_of_protocols_that_nobody_asked_for_is_502() {
    let response = hostile(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nmine").await;
    assert!(response.starts_with("HTTP/1.1 502 ") && response.contains("without being asked"), "{response}");
    assert!(!response.contains("mine"), "{response}");
}

#[tokio::test]
async fn what_comes_before_an_answer_is_not_the_answer() {
    let early = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
    let response = hostile(&[early.as_slice(), ANSWER.as_bytes()].concat()).await;
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n") && response.ends_with("\r\n\r\nanswer"), "{response}");
}

#[tokio::test]
async fn of_two_lengths_the_one_that_was_read_by_is_told() {
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n5\r\npiece\r\n0\r\n\r\n";
    let response = hostile(answer).await;
    assert!(header(&response, "content-length").is_empty() && response.contains("piece"), "{response}");
    let response = hostile(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nabcdef").await;
    assert_eq!(header(&response, "content-length"), ["2"]);
    assert!(response.ends_with("\r\n\r\nab"), "{response}");
}

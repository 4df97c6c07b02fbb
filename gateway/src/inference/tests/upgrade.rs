//! Connections that are switched to another protocol, as a WebSocket's is.

use std::time::Duration;

use dormouse_sandbox::messages::ExitCause;
use dormouse_spec::AppProtocol;
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

const ASKED: &str = "GET /ws HTTP/1.1\r\nhost: h.localhost\r\nconnection: keep-alive, Upgrade\r\nupgrade: websocket\r\n\
                     sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                        sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

async fn heard(stream: &mut (impl AsyncReadExt + Unpin), bytes: usize) -> Vec<u8> {
    let mut heard = vec![0; bytes];
    timeout(PATIENCE, stream.read_exact(&mut heard)).await.unwrap().unwrap();
    heard
}

/// Whether it ended, in whatever way.
async fn ended(stream: &mut (impl AsyncReadExt + Unpin)) {
    let mut rest = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.unwrap();
}

/// Both ends of a switched connection.
async fn switched(front: &mut Front) -> (TcpStream, Replica) {
    let mut client = front.client().await;
    client.write_all(ASKED.as_bytes()).await.unwrap();
    let mut replica = front.connected().await;
    let request = replica.request(0).await.to_lowercase();
    for line in ["connection: upgrade\r\n", "upgrade: websocket\r\n", "sec-websocket-version: 13\r\n"] {
        assert!(request.contains(line), "{request}");
    }
    replica.write(SWITCHED).await;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(heard(&mut client, 1).await);
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    for line in ["connection: upgrade\r\n", "upgrade: websocket\r\n", "sec-websocket-accept: s3pP"] {
        assert!(head.contains(line), "{head}");
    }
    assert!(!head.contains("content-length") && !head.contains("transfer-encoding"), "{head}");
    (client, replica)
}

#[tokio::test]
async fn bytes_pass_both_ways_as_they_are_until_the_client_closes() {
    let mut front = Front::image().await;
    let (mut client, mut replica) = switched(&mut front).await;
    for frame in [b"\x81\x85\x01\x02\x03\x04h\x00\xff\r\n".as_slice(), b"\x89\x00"] {
        client.write_all(frame).await.unwrap();
        assert_eq!(replica.bytes(frame.len()).await, frame);
        replica.stream.write_all(frame).await.unwrap();
        assert_eq!(heard(&mut client, frame.len()).await, frame);
    }
    drop(client);
    replica.read_to_end().await;
    drop(replica);
    front.given_back().await;
    assert_eq!(front.told_served(), 1);
}

#[tokio::test]
async fn more_than_any_buffer_holds_passes_both_ways_at_once() {
    let mut front = Front::image().await;
    let (client, replica) = switched(&mut front).await;
    let bytes = 4 << 20;
    let echo = async move {
        let (mut read, mut write) = tokio::io::split(replica.stream);
        tokio::io::copy(&mut read, &mut write).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let (mut read, mut write) = tokio::io::split(client);
    let send = async move {
        write.write_all(&vec![7; bytes]).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let (_, _, received) = timeout(PATIENCE, async {
        tokio::join!(echo, send, async move {
            let mut received = Vec::new();
            read.read_to_end(&mut received).await.unwrap();
            received
        })
    })
    .await
    .unwrap();
    assert!(received.len() == bytes && received.iter().all(|byte| *byte == 7));
    front.given_back().await;
}

#[tokio::test]
async fn what_came_right_behind_a_head_is_not_lost() {
    let mut front = Front::image().await;
    let mut client = front.client().await;
    client.write_all(format!("{ASKED}early").as_bytes()).await.unwrap();
    let mut replica = front.connected().await;
    assert!(replica.request(0).await.ends_with("\r\n\r\n"));
    replica.write(&format!("{SWITCHED}too")).await;
    assert_eq!(replica.bytes(5).await, b"early");
    let mut received = Vec::new();
    while !received.ends_with(b"\r\n\r\ntoo") {
        received.extend(heard(&mut client, 1).await);
    }
}

#[tokio::test]
async fn it_ends_when_the_replica_closes_or_is_lost() {
    let mut front = Front::image().await;
    let (mut client, replica) = switched(&mut front).await;
    drop(replica);
    ended(&mut client).await;
    drop(client);
    front.given_back().await;
    assert_eq!(front.told_served(), 0, "it may be dying");

    let (mut client, mut replica) = switched(&mut front).await;
    front.lose(ExitCause::Stopped);
    ended(&mut client).await;
    replica.read_to_end().await;
    front.given_back().await;
}

#[tokio::test]
async fn it_gives_its_place_up_where_another_needs_it() {
    let mut front = Front::image().await;
    let (mut client, mut replica) = switched(&mut front).await;
    front.want_places();
    ended(&mut client).await;
    replica.read_to_end().await;
    front.given_back().await;
}

#[tokio::test]
async fn a_client_that_takes_nothing_ends_it() {
    let mut front = Front::image().await;
    let (_client, mut replica) = switched(&mut front).await;
    let piece = vec![7; 64 << 10];
    let written = async { while replica.stream.write_all(&piece).await.is_ok() {} };
    timeout(PATIENCE, written).await.unwrap();
    front.given_back().await;
}

#[tokio::test]
async fn it_outlives_the_time_that_a_request_has() {
    let mut front = Front::of(Payload::Image(AppProtocol::Http1), Duration::from_secs(2)).await;
    let (mut client, mut replica) = switched(&mut front).await;
    // A request on another connection runs into the deadline, which the tunnel's was before.
    let mut late = front.client().await;
    late.write_all(b"GET / HTTP/1.1\r\nhost: h.localhost\r\n\r\n").await.unwrap();
    let _unheard = front.connected().await;
    assert!(front::response(&mut late).await.starts_with("HTTP/1.1 504 "));
    client.write_all(b"still").await.unwrap();
    assert_eq!(replica.bytes(5).await, b"still");
    assert_eq!(front.given_back_so_far(), 1);
}

#[tokio::test]
async fn a_switch_that_is_declined_is_an_answer_like_any_other() {
    let mut front = Front::image().await;
    let mut client = front.client().await;
    for _ in 0..2 {
        client.write_all(ASKED.as_bytes()).await.unwrap();
        let mut replica = front.connected().await;
        replica.request(0).await;
        replica.write(&ANSWER.replace("200 OK", "426 Upgrade Required")).await;
        let response = front::response(&mut client).await;
        assert!(response.starts_with("HTTP/1.1 426 ") && response.ends_with("answer"), "{response}");
        front.given_back().await;
        front.keep(replica);
    }
}

#[tokio::test]
async fn a_switch_to_nothing_is_502() {
    let mut front = Front::image().await;
    let mut client = front.client().await;
    client.write_all(ASKED.as_bytes()).await.unwrap();
    let mut replica = front.connected().await;
    replica.request(0).await;
    replica.write("HTTP/1.1 101 Switching Protocols\r\n\r\n").await;
    let response = front::response(&mut client).await;
    assert!(response.starts_with("HTTP/1.1 502 "), "{response}");
    front.given_back().await;
}

#[tokio::test]
async fn a_model_is_not_asked_to_switch() {
    let mut front = Front::start().await;
    let mut client = front.client().await;
    client.write_all(ASKED.as_bytes()).await.unwrap();
    let mut replica = front.connected().await;
    let request = replica.request(0).await.to_lowercase();
    assert!(!request.contains("\nupgrade") && !request.contains("\nconnection"), "{request}");
    replica.write(SWITCHED).await;
    let response = front::response(&mut client).await;
    assert!(response.starts_with("HTTP/1.1 502 "), "{response}");
    front.given_back().await;
}

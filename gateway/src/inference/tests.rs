//! Exchanges between a real client, a real server and a replica that does what the test wants.
#![allow(clippy::unwrap_used)]

pub(super) mod frames;
mod front;
mod h2c;
mod image;
mod replica;
mod upgrade;

use std::{
    io::Write,
    sync::{Arc, Mutex},
    time::Duration,
};

use dormouse_sandbox::messages::ExitCause;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use front::{BODY_BYTES_MAX, Front};
use replica::ANSWER;

const OUT_OF_MEMORY: ExitCause = ExitCause::OutOfMemory { limit_bytes: 64 << 20 };

fn post(body: &str) -> String {
    format!("POST /v2/models/m/infer HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn an_answer_streams_back_and_gives_the_replica_back_with_its_connection() {
    let mut front = Front::start().await;
    let mut client = front.client().await;
    for _ in 0..2 {
        client.write_all(post("{}").as_bytes()).await.unwrap();
        let mut replica = front.connected().await;
        let request = replica.request(2).await;
        assert!(request.starts_with("POST /v2/models/m/infer HTTP/1.1\r\n") && request.ends_with("\r\n\r\n{}"));
        replica.write(ANSWER).await;
        assert!(front::response(&mut client).await.ends_with("answer"));
        front.given_back().await;
        front.keep(replica);
    }
    assert_eq!(front.connections_made(), 1);
}

#[tokio::test]
async fn a_body_that_grows_over_the_limit_is_413_for_a_client_that_sends_all_of_it() {
    let mut front = Front::start().await;
    let client = front.client().await;
    let sent = tokio::spawn(front::send_chunked(client, BODY_BYTES_MAX * 2));
    let mut replica = front.connected().await;
    let received = replica.read_to_end().await;
    assert!(received <= BODY_BYTES_MAX + (1 << 20), "{received} bytes reached the replica");
    let mut client = sent.await.unwrap();
    let response = front::response(&mut client).await;
    assert!(response.starts_with("HTTP/1.1 413 "), "{response}");
    front.given_back().await;
}

#[tokio::test]
async fn an_answer_before_the_body_was_read_reaches_a_client_that_sends_all_of_it() {
    let mut front = Front::start().await;
    let client = front.client().await;
    let sent = tokio::spawn(front::send_declared(client, BODY_BYTES_MAX));
    let mut replica = front.connected().await;
    replica.write("HTTP/1.1 400 Bad Request\r\ncontent-length: 6\r\nconnection: close\r\n\r\nanswer").await;
    drop(replica);
    let mut client = sent.await.unwrap();
    let response = front::response(&mut client).await;
    assert!(response.starts_with("HTTP/1.1 400 ") && response.ends_with("answer"), "{response}");
    front.given_back().await;
    assert_eq!(front.told_served(), 1);
}

#[tokio::test]
async fn a_replica_that_dies_with_a_request_is_502_with_its_cause() {
    let mut front = Front::start().await;
    let mut client = front.client().await;
    client.write_all(post("{}").as_bytes()).await.unwrap();
    let mut replica = front.connected().await;
    replica.request(2).await;
    // Its connection stays open, as when somebody else holds its socket.
    front.lose(OUT_OF_MEMORY);
    let response = front::response(&mut client).await;
    assert!(response.starts_with("HTTP/1.1 502 ") && response.contains("out of memory"), "{response}");
    front.given_back().await;
    assert_eq!(front.told_served(), 0);
}

#[tokio::test]
async fn a_connection_that_breaks_first_is_told_with_the_cause_that_follows() {
    let mut front = Front::start().await;
    let mut client = front.client().await;
    client.write_all(post("{}").as_bytes()).await.unwrap();
    let mut replica = front.connected().await;
    replica.request(2).await;
    drop(replica);
    front.lose(ExitCause::Signal { signal: 11 });
    let response = front::response(&mut client).await;
    assert!(response.starts_with("HTTP/1.1 502 ") && response.contains("signal 11"), "{response}");
}

#[tokio::test]
async fn a_replica_that_does_not_answer_in_time_is_504_and_loses_its_connection() {
    let mut front = Front::with_timeout(Duration::from_secs(1)).await;
    let mut client = front.client().await;
    client.write_all(post("{}").as_bytes()).await.unwrap();
    let mut replica = front.connected().await;
    let response = front::response(&mut client).await;
    assert!(response.starts_with("HTTP/1.1 504 ") && response.contains("inference"), "{response}");
    replica.read_to_end().await;
    // It is asked whether it lives, and stays what it was if it says anything.
    let mut asked = front.connected().await;
    assert!(asked.request(0).await.starts_with("GET /v2/health/live "));
    asked.write("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await;
    front.given_back().await;
    assert_eq!(front.told_served(), 0);
    assert!(!front.was_told_silent());
}

#[tokio::test]
async fn a_replica_that_then_does_not_say_that_it_lives_is_silent() {
    let mut front = Front::with_timeout(Duration::from_secs(1)).await;
    let mut client = front.client().await;
    client.write_all(post("{}").as_bytes()).await.unwrap();
    let _unheard = front.connected().await;
    let response = front::response(&mut client).await;
    assert!(response.starts_with("HTTP/1.1 504 "), "{response}");
    let _unheard = front.connected().await;
    front.given_back().await;
    assert!(front.was_told_silent());
}

#[tokio::test]
async fn a_replica_that_dies_within_its_answer_cuts_it_off() {
    let mut front = Front::start().await;
    let mut client = front.client().await;
    client.write_all(post("{}").as_bytes()).await.unwrap();
    let mut replica = front.connected().await;
    replica.request(2).await;
    replica.write("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nbegun").await;
    let mut begun = vec![0; 1];
    client.read_exact(&mut begun).await.unwrap();
    front.lose(OUT_OF_MEMORY);
    let mut rest = String::new();
    // An end before the declared length is how HTTP/1.1 tells it; a reset tells it too.
    let _ = client.read_to_string(&mut rest).await;
    assert!(!rest.ends_with("\r\n\r\n") && rest.len() < 300, "{rest}");
    front.given_back().await;
    assert_eq!(front.told_served(), 0);
}

#[tokio::test]
async fn a_body_that_stops_coming_is_408_and_gives_the_replica_back() {
    let mut front = Front::start().await;
    let mut client = front.client().await;
    client.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nbegun").await.unwrap();
    let mut replica = front.connected().await;
    let response = front::response(&mut client).await;
    assert!(response.starts_with("HTTP/1.1 408 ") && response.contains("too slowly"), "{response}");
    replica.read_to_end().await;
    front.given_back().await;
}

#[tokio::test]
async fn an_answer_that_is_not_taken_gives_the_replica_back() {
    let mut front = Front::start().await;
    let mut client = front.client().await;
    client.write_all(post("{}").as_bytes()).await.unwrap();
    let mut replica = front.connected().await;
    replica.request(2).await;
    // More than the buffers of both connections hold, so that all of it would wait for the client.
    replica.write_endlessly().await;
    front.given_back().await;
    assert_eq!(front.told_served(), 1);
    drop(client);
}

/// What is logged.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn an_answer_that_the_deadline_ended_is_not_put_down_to_its_client() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    // Before its client would be given up.
    let mut front = Front::with_timeout(Duration::from_millis(500)).await;
    let mut client = front.client().await;
    client.write_all(post("{}").as_bytes()).await.unwrap();
    let mut replica = front.connected().await;
    replica.request(2).await;
    // The client takes nothing until it is over.
    replica.write_endlessly().await;
    front.given_back().await;
    let _ = client.read_to_end(&mut Vec::new()).await;
    let lines = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(lines.contains("answer cut off") && lines.contains("the deadline passed"), "{lines}");
}

#[tokio::test]
async fn a_client_that_goes_away_gives_the_replica_back_and_ends_its_work() {
    let mut front = Front::start().await;
    let mut client = front.client().await;
    client.write_all(post("{}").as_bytes()).await.unwrap();
    let mut replica = front.connected().await;
    replica.request(2).await;
    drop(client);
    front.given_back().await;
    replica.read_to_end().await;
}

#[tokio::test]
async fn a_replica_that_cannot_be_reached_or_is_dead_got_not_a_byte() {
    let mut front = Front::start().await;
    front.stop_listening();
    let mut client = front.client().await;
    client.write_all(post("{}").as_bytes()).await.unwrap();
    let response = front::response(&mut client).await;
    assert!(response.starts_with("HTTP/1.1 503 ") && response.contains("connecting to its socket"), "{response}");
    front.given_back().await;

    let front = Front::start().await;
    front.lose(OUT_OF_MEMORY);
    let mut client = front.client().await;
    client.write_all(post("{}").as_bytes()).await.unwrap();
    let response = front::response(&mut client).await;
    assert!(response.starts_with("HTTP/1.1 503 ") && response.contains("out of memory"), "{response}");
    assert_eq!(front.connections_made(), 0);
}

#[tokio::test]
async fn what_refuses_since_it_died_is_waited_for_until_that_is_known() {
    for mut front in [Front::start().await, Front::image().await] {
        front.refuse_connections().await;
        front.grant_next([1, 1]);
        let mut client = front.client().await;
        client.write_all(post("{}").as_bytes()).await.unwrap();
        while front.grants_left() > 1 {
            tokio::task::yield_now().await;
        }
        assert_eq!(front.grants_left(), 1, "the same replica is not asked again at once");
        front.lose(OUT_OF_MEMORY);
        let response = front::response(&mut client).await;
        assert!(response.starts_with("HTTP/1.1 503 ") && response.contains("out of memory"), "{response}");
        assert_eq!(front.told_deaf(), 0);
    }
}

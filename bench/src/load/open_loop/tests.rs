#![allow(clippy::unwrap_used)]
use std::{io::BufReader, os::unix::net::UnixListener};

use super::*;
use crate::models::{Input, Request};

const ANSWER: &str = r#"{"outputs":[{"name":"y","datatype":"FP32","shape":[1],"data":[0.5]}]}"#;

/// Answers each request with `ANSWER`, and closes a connection after `requests_max` of them.
fn serve_at(path: &std::path::Path, requests_max: usize) {
    let listener = UnixListener::bind(path).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let mut connection = BufReader::new(stream);
                for _ in 0..requests_max {
                    if take_request(&mut connection).is_none() {
                        return;
                    }
                    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{ANSWER}", ANSWER.len());
                    connection.get_mut().write_all(answer.as_bytes()).unwrap();
                }
            });
        }
    });
}

fn take_request(connection: &mut BufReader<UnixStream>) -> Option<()> {
    use std::io::BufRead;
    let mut length = 0;
    loop {
        let mut line = String::new();
        connection.read_line(&mut line).ok().filter(|bytes| *bytes > 0)?;
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            return connection.read_exact(&mut vec![0; length]).ok();
        }
    }
}

fn ask(requests: usize, requests_max: usize, reference: &str) -> Result<Outcome, Failure> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("server.sock");
    serve_at(&path, requests_max);
    let model = Model { name: "y", path: PathBuf::new(), request: Request::of(&[Input::noise("x", &[1])]) };
    let target = Target { at: Door::Unix(path), endpoint: "y".to_owned() };
    run(&target, &model, &Answer::parse(reference.as_bytes())?, &vec![Duration::ZERO; requests])
}

#[test]
fn every_request_that_is_due_is_sent_and_counted() {
    let outcome = ask(500, usize::MAX, ANSWER).unwrap();
    assert_eq!((outcome.latencies.len(), outcome.failed, outcome.why), (500, 0, None));
}

#[test]
fn a_connection_that_breaks_is_a_failure_and_the_next_request_has_another() {
    let outcome = ask(200, 3, ANSWER).unwrap();
    assert_eq!(outcome.latencies.len() + outcome.failed as u64, 200);
    assert!(outcome.failed > 0 && outcome.latencies.len() > 100, "{outcome:?}");
}

#[test]
fn a_wrong_answer_ends_it() {
    let failed = ask(20, usize::MAX, &ANSWER.replace("0.5", "0.7")).err();
    assert!(failed.is_some_and(|error| error.to_string().contains("is right")));
}

#[test]
fn waiting_for_a_connection_counts() {
    let mut outcome = Outcome::new().unwrap();
    let begun = Instant::now() - Duration::from_millis(500);
    outcome.take_in(Duration::from_millis(100), begun, Ok(()));
    assert!(outcome.percentile_ms(0.5) >= 399.0);
    outcome.take_in(Duration::ZERO, begun, Err("refused".into()));
    assert_eq!((outcome.failed, outcome.latencies.len(), outcome.why.as_deref()), (1, 1, Some("refused")));
}

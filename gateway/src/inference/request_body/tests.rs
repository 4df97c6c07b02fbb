#![allow(clippy::unwrap_used)]
use std::{convert::Infallible, time::Duration};

use http::Response;
use http_body_util::Empty;
use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use tokio::{
    io::{AsyncWriteExt, DuplexStream, duplex},
    sync::mpsc,
};

use super::*;
use crate::inference::tests::frames;

const BYTES_MAX: u64 = 1 << 20;
const PACE: PaceLimit = PaceLimit { wait: Duration::from_secs(3600), rate_min: 1 << 20 };

/// The body of a request that begins like this, and its client.
async fn begun(with: &[u8]) -> (RequestBody, DuplexStream) {
    let (mut client, server) = duplex(1 << 20);
    let (arrived, mut requests) = mpsc::unbounded_channel();
    let service = service_fn(move |request: Request<Incoming>| {
        arrived.send(request).unwrap();
        std::future::pending::<Result<Response<Empty<Bytes>>, Infallible>>()
    });
    tokio::spawn(async move {
        let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(server), service).await;
    });
    client.write_all(with).await.unwrap();
    let request = requests.recv().await.unwrap();
    (RequestBody::of(request, BYTES_MAX, PACE).into_body(), client)
}

/// One over HTTP/2, as far as this.
async fn begun_over_http_2(body: &[u8]) -> (RequestBody, DuplexStream) {
    let head = frames::head(&[frames::POST, frames::HTTP, frames::ROOT, 0x41, 1, b'h']);
    begun(&[frames::PREFACE, &frames::settings(), &head, body].concat()).await
}

#[tokio::test]
async fn a_body_that_is_reset_without_an_error_is_broken_and_one_that_had_ended_is_whole() {
    let (mut body, _client) = begun_over_http_2(&[frames::data("begun", false), frames::reset()].concat()).await;
    let progress = body.progress();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "begun");
    assert!(matches!(body.frame().await, Some(Err(RequestBodyError::Reset))));
    assert!(progress.is_broken() && !progress.is_finished());

    let (mut body, _client) = begun_over_http_2(&[frames::data("all", true), frames::reset()].concat()).await;
    let progress = body.progress();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "all");
    assert!(body.frame().await.is_none());
    assert!(progress.is_finished() && !progress.is_broken());
}

#[tokio::test]
async fn what_was_read_ahead_of_many_small_chunks_is_passed_on_as_one_part() {
    let head = b"POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n".as_slice();
    let (mut body, _client) = begun(&[head, &b"1\r\nx\r\n".repeat(10_000), b"0\r\n\r\n"].concat()).await;
    body.read_ahead(BYTES_MAX as usize, Instant::now() + PACE.wait).await.unwrap();
    assert_eq!(body.size_hint().exact(), Some(10_000));
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), vec![b'x'; 10_000]);
    assert!(body.is_end_stream() && body.frame().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_body_is_waited_for_no_longer_than_its_request_may_take() {
    let (mut body, _client) = begun(b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n\r\nbe").await;
    let deadline = Instant::now() + Duration::from_secs(60);
    assert!(matches!(body.read_ahead(5, deadline).await, Err(RequestBodyError::TooSlow)));
    assert!(Instant::now() < deadline + Duration::from_secs(1) && body.progress().is_too_slow());
}

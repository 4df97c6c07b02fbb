use super::*;

const LENGTH: usize = 100_000;

fn content() -> Vec<u8> {
    (0..LENGTH).map(|index| (index % 251) as u8).collect()
}

/// The rest of the content, from where the request wants it.
fn rest(seen: &Seen) -> Answer {
    let Some(range) = seen.header("range") else { return Answer::ok(content()) };
    let from: usize = range.strip_prefix("bytes=").and_then(|range| range.strip_suffix('-')).unwrap().parse().unwrap();
    Answer::new(206, content().split_off(from)).header("content-range", format!("bytes {from}-{}/{LENGTH}", LENGTH - 1))
}

/// The first `bytes` bytes of what is declared to be all, and then the connection breaks.
fn cut(bytes: usize) -> Answer {
    Answer::ok(content()[..bytes].to_vec()).header("content-length", LENGTH.to_string()).cut()
}

#[tokio::test]
async fn a_blob_comes_in_chunks() {
    let server = Server::start(rest).await;
    let (result, sink) = blob(&public(&server), &content()).await;
    result.unwrap();
    assert!(sink.content == content() && sink.restarts == 0);
    assert_eq!(server.paths(), [format!("/v2/owner/name/blobs/{}", digest(&content()))]);
}

#[tokio::test]
async fn a_blob_that_breaks_off_goes_on_from_there() {
    let server = Server::start(|seen| if seen.earlier == 0 { cut(60_000) } else { rest(seen) }).await;
    let (result, sink) = blob(&public(&server), &content()).await;
    result.unwrap();
    assert!(sink.content == content() && sink.restarts == 0);
    assert_eq!(server.seen()[1].header("range"), Some("bytes=60000-"));
}

#[tokio::test]
async fn what_is_there_from_before_is_not_fetched_again() {
    let server = Server::start(rest).await;
    let image = public(&server);
    let mut sink = Collected { content: content()[..70_000].to_vec(), ..Collected::default() };
    image.blob(&layer(&content()), &mut sink).await.unwrap();
    assert!(sink.content == content());
    image.blob(&layer(&content()), &mut sink).await.unwrap();
    assert_eq!(server.seen().len(), 1, "all of it was there the second time");
}

#[tokio::test]
async fn a_server_without_ranges_begins_anew() {
    let server = Server::start(|seen| if seen.earlier == 0 { cut(60_000) } else { Answer::ok(content()) }).await;
    let (result, sink) = blob(&public(&server), &content()).await;
    result.unwrap();
    assert!(sink.content == content() && sink.restarts == 1);
}

#[tokio::test]
async fn another_range_than_was_asked_for_is_not_appended() {
    for wrong in ["bytes 0-99999/100000", "bytes 60001-99999/100000", "nonsense"] {
        let server = Server::start(move |seen| match seen.earlier {
            0 => cut(60_000),
            1 => Answer::new(206, content()).header("content-range", wrong),
            2 => cut(10),
            3 => Answer::new(416, ""),
            _ => rest(seen),
        })
        .await;
        let (result, sink) = blob(&public(&server), &content()).await;
        result.unwrap();
        assert!(sink.content == content() && sink.restarts == 2, "{wrong}");
    }
}

#[tokio::test]
async fn a_blob_that_always_ends_early_is_truncated() {
    let proper = Server::start(|_| Answer::ok(content()[..100].to_vec())).await;
    let (result, _) = blob(&public(&proper), &content()).await;
    let error = result.unwrap_err();
    assert!(matches!(*error.failure, Failure::Truncated { received: 100, size: 100_000, source: None }), "{error:?}");
    assert_eq!((error.attempts, proper.seen().len(), error.failure.is_transient()), (5, 5, true));

    let broken = Server::start(|_| cut(100)).await;
    let (result, _) = blob(&public(&broken), &content()).await;
    assert!(matches!(*result.unwrap_err().failure, Failure::Truncated { source: Some(_), .. }));
}

#[tokio::test]
async fn more_than_the_size_is_never_written() {
    let declared = Server::start(|_| Answer::ok("").header("content-length", "100001").silent()).await;
    let undeclared = Server::start(|_| Answer::ok([content(), b"x".to_vec()].concat())).await;
    let endless = Server::start(|_| Answer::ok(content()).endless()).await;
    for server in [declared, undeclared, endless] {
        let (result, sink) = blob(&public(&server), &content()).await;
        let error = result.unwrap_err();
        assert!(matches!(*error.failure, Failure::TooLarge { max: 100_000 }), "{error:?}");
        assert!(sink.content.len() <= LENGTH);
        assert_eq!(server.seen().len(), 1, "at once");
    }
}

#[tokio::test]
async fn a_long_download_may_break_more_often_than_a_short_one() {
    const LONG: usize = 8 << 20;
    let serve = |seen: &Seen| {
        let from: usize = seen.header("range").map_or(0, |range| range[6..range.len() - 1].parse().unwrap());
        Answer::new(if from == 0 { 200 } else { 206 }, vec![7; 1 << 20])
            .header("content-range", format!("bytes {from}-{}/{LONG}", LONG - 1))
            .header("content-length", (LONG - from).to_string())
            .cut()
    };
    let server = Server::start(serve).await;
    let (result, sink) = blob(&public(&server), &vec![7; LONG]).await;
    result.unwrap();
    assert_eq!((sink.content.len(), sink.restarts, server.seen().len()), (LONG, 0, 8));
}

#[tokio::test]
async fn beginning_anew_each_time_is_no_progress() {
    const LONG: usize = 8 << 20;
    let server = Server::start(|seen| match seen.earlier {
        0..10 => Answer::ok(vec![7; 2 << 20]).header("content-length", LONG.to_string()).cut(),
        _ => Answer::new(404, ""),
    })
    .await;
    let (result, _) = blob(&public(&server), &vec![7; LONG]).await;
    assert!(matches!(*result.unwrap_err().failure, Failure::Truncated { .. }));
    assert_eq!(server.seen().len(), 5);
}

#[tokio::test]
async fn a_disk_that_is_full_is_not_tried_again() {
    let server = Server::start(rest).await;
    let mut sink = Collected { room: Some(10), ..Collected::default() };
    let error = public(&server).blob(&layer(&content()), &mut sink).await.unwrap_err();
    assert!(matches!(&*error.failure, Failure::Sink { source } if source.is::<sink::Full>()), "{error:?}");
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_blob_that_is_gone_is_not_an_unknown_image() {
    let server = Server::start(|_| Answer::new(404, "")).await;
    let error = blob(&public(&server), &content()).await.0.unwrap_err();
    assert!(matches!(*error.failure, Failure::UnknownBlob { .. }), "{error:?}");
    assert!(error.to_string().contains(&digest(&content()).to_string()));
}

#[tokio::test]
async fn a_configuration_is_verified_and_bounded() {
    let config = |size, content: &[u8]| super::super::ImageManifest {
        config: Descriptor { size, ..layer(content) },
        layers: Vec::new(),
    };
    let server = Server::start(|_| Answer::ok("{}")).await;
    let image = public(&server);
    assert_eq!(&image.config(&config(2, b"{}")).await.unwrap()[..], b"{}");
    let error = image.config(&config(2, b"[]")).await.unwrap_err();
    assert!(matches!(*error.failure, Failure::WrongDigest { .. }), "{error:?}");
    let error = image.config(&config((4 << 20) + 1, b"{}")).await.unwrap_err();
    assert!(matches!(*error.failure, Failure::TooLarge { .. }), "{error:?}");
    assert_eq!(server.seen().len(), 2, "what is too large is not asked for");
}

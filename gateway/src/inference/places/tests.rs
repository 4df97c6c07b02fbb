#![allow(clippy::unwrap_used)]
use super::*;

/// Whether it resolves without anything else happening.
fn now<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut cx) {
        std::task::Poll::Ready(value) => Some(value),
        std::task::Poll::Pending => None,
    }
}

#[tokio::test]
async fn the_one_that_has_been_waited_for_longest_goes_and_only_where_all_are_taken() {
    let places = Places::new(2);
    let (first, second) = (places.take().await, places.take().await);
    assert!(now(first.called_back()).is_none(), "nobody needs it");
    let entering = tokio::spawn({
        let places = places.clone();
        async move { places.take().await }
    });
    first.called_back().await;
    assert!(now(second.called_back()).is_none());
    drop(first);
    let third = entering.await.unwrap();
    assert!(now(second.called_back()).is_none(), "one was enough");
    drop((second, third));
    let ledger = places.0.lock();
    assert_eq!((ledger.taken.len(), ledger.waited_for.len(), ledger.called_back), (0, 0, 0));
}

#[tokio::test]
async fn a_place_with_a_request_that_is_ours_to_do_is_kept() {
    let places = Places::new(2);
    let (busy, other) = (places.take().await, places.take().await);
    let mut request = busy.request();
    request.is_ours();
    let entering = tokio::spawn({
        let places = places.clone();
        async move { places.take().await }
    });
    other.called_back().await;
    drop(other);
    let third = entering.await.unwrap();
    let mut late = third.request();
    late.is_ours();

    // Now nobody is waited for: whoever comes waits, until somebody is.
    let entering = tokio::spawn({
        let places = places.clone();
        async move { places.take().await }
    });
    tokio::task::yield_now().await;
    assert!(now(busy.called_back()).is_none() && now(third.called_back()).is_none());
    drop(request);
    busy.called_back().await;
    drop(busy);
    entering.await.unwrap();
}

#[tokio::test]
async fn a_request_puts_its_connection_at_the_end() {
    let places = Places::new(2);
    let (first, second) = (places.take().await, places.take().await);
    drop(first.request());
    let _entering = tokio::spawn({
        let places = places.clone();
        async move { places.take().await }
    });
    second.called_back().await;
    assert!(now(first.called_back()).is_none());
}

#[tokio::test]
async fn a_request_that_became_theirs_is_kept_for_as_long_as_it_moves() {
    let places = Places::new(2);
    let (first, second) = (places.take().await, places.take().await);
    let (mut moving, mut still) = (first.request(), second.request());
    for request in [&mut moving, &mut still] {
        request.is_ours();
        request.is_theirs();
    }
    moving.moved();
    let _entering = tokio::spawn({
        let places = places.clone();
        async move { places.take().await }
    });
    second.called_back().await;
    assert!(now(first.called_back()).is_none());
    drop((moving, still, first, second));
    assert_eq!(places.0.lock().called_back, 0);
}

#[tokio::test(start_paused = true)]
async fn idle_is_without_a_request_under_way() {
    let places = Places::new(1);
    let place = places.take().await;
    let time = Duration::from_secs(60);
    let request = place.request();
    assert!(tokio::time::timeout(time * 3, place.idle(time)).await.is_err(), "a request is under way");
    drop(request);
    let began = Instant::now();
    place.idle(time).await;
    assert!(began.elapsed() >= time);
}

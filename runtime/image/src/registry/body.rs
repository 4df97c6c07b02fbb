use std::time::Duration;

use bytes::Bytes;
use reqwest::{Response, header::CONTENT_LENGTH};
use tokio::time::{Instant, timeout};

use super::Failure;

/// Bytes that must come within the stall timeout. A body that drips slower would hold its reader
/// for days without ever being silent.
const BYTES_PER_STALL_MIN: u64 = 16 << 10;

/// The body of an answer, a chunk at a time. Only the time spent waiting for the other side counts.
#[derive(Debug)]
pub(super) struct Body {
    response: Response,
    stall: Duration,
    waited: Duration,
    came: u64,
}

impl Body {
    pub(super) fn new(response: Response, stall: Duration) -> Self {
        Self { response, stall, waited: Duration::ZERO, came: 0 }
    }

    /// What the head says of the length, in bytes. Not to be relied on.
    pub(super) fn declared(&self) -> Option<u64> {
        self.response.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    }

    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        let begun = Instant::now();
        let chunk = timeout(self.stall.saturating_sub(self.waited), self.response.chunk())
            .await
            .map_err(|_| Failure::Stalled { after: self.stall })?
            // Addresses of blobs carry signatures that let whoever has them read the blob.
            .map_err(|source| Failure::Broken { source: source.without_url() })?;
        self.waited += begun.elapsed();
        self.came += chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
        if self.came >= BYTES_PER_STALL_MIN {
            (self.waited, self.came) = (Duration::ZERO, 0);
        }
        Ok(chunk)
    }

    /// All of it, which is at most `max` bytes.
    pub(super) async fn whole(&mut self, max: usize) -> Result<Bytes, Failure> {
        let too_large = || Failure::TooLarge { max: max as u64 };
        if self.declared().is_some_and(|declared| declared > max as u64) {
            return Err(too_large());
        }
        let mut whole = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            if whole.len() + chunk.len() > max {
                return Err(too_large());
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(whole.into())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        future::Future as _,
        pin::Pin,
        task::{Context, Poll, ready},
    };

    use hyper::body::Frame;
    use tokio::time::{Sleep, sleep};

    use super::*;

    const STALL: Duration = Duration::from_secs(30);
    const BETWEEN: Duration = Duration::from_secs(20);
    const DROPS: usize = 100;

    /// As much, again and again, with a pause before each.
    struct Dripping {
        bytes: usize,
        left: usize,
        next: Pin<Box<Sleep>>,
    }

    impl hyper::body::Body for Dripping {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            ready!(self.next.as_mut().poll(context));
            self.next = Box::pin(sleep(BETWEEN));
            let left = self.left.checked_sub(1);
            self.left = left.unwrap_or_default();
            Poll::Ready(left.map(|_| Ok(Frame::data(vec![0; self.bytes].into()))))
        }
    }

    async fn whole(bytes: usize, max: usize) -> Result<Bytes, Failure> {
        let dripping = Dripping { bytes, left: DROPS, next: Box::pin(sleep(BETWEEN)) };
        let response = hyper::Response::new(reqwest::Body::wrap(dripping)).into();
        Body::new(response, STALL).whole(max).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_drip_is_as_good_as_silence() {
        assert!(matches!(whole(1, usize::MAX).await, Err(Failure::Stalled { after: STALL })));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_slow_but_comes_is_waited_for() {
        let all = DROPS * (16 << 10);
        assert!(matches!(whole(16 << 10, all).await, Ok(whole) if whole.len() == all));
        let one_less = all as u64 - 1;
        assert!(matches!(whole(16 << 10, all - 1).await, Err(Failure::TooLarge { max }) if max == one_less));
    }
}

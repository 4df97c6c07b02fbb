//! How slow a client may be where it keeps others waiting.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

/// What a client may take: a wait, and more of it only for bytes that move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PaceLimit {
    /// The longest that nothing may move.
    pub(super) wait: Duration,
    /// Bytes a second that a client moves in the long run, or its wait is used up.
    pub(super) rate_min: u64,
}

/// The wait that is left to one client. Each moment in which it keeps us waiting is taken from it,
/// each byte gives some back; it never grows beyond the limit, so that speed cannot be saved up.
#[derive(Debug)]
struct Pace {
    limit: PaceLimit,
    left: Duration,
}

impl Pace {
    fn new(limit: PaceLimit) -> Self {
        Self { limit, left: limit.wait }
    }

    fn waited(&mut self, time: Duration) {
        self.left = self.left.saturating_sub(time);
    }

    fn moved(&mut self, bytes: u64) {
        let earned = Duration::from_secs_f64(bytes as f64 / self.limit.rate_min as f64);
        self.left = self.left.saturating_add(earned).min(self.limit.wait);
    }
}

/// A [`Pace`] with the clock: it runs only while the client is waited for.
#[derive(Debug)]
pub(super) struct ClientClock {
    pace: Pace,
    since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl ClientClock {
    pub(super) fn new(limit: PaceLimit) -> Self {
        Self { pace: Pace::new(limit), since: None, timer: None }
    }

    /// The client is waited for from now on, if it was not already; tells until when.
    pub(super) fn wait(&mut self) -> Instant {
        *self.since.get_or_insert_with(Instant::now) + self.pace.left
    }

    /// Ready where the client, which is waited for, has used its wait up.
    pub(super) fn poll_used_up(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let until = self.wait();
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if timer.deadline() != until {
            timer.as_mut().reset(until);
        }
        timer.as_mut().poll(cx)
    }

    /// The client moved bytes, and is not waited for any more.
    pub(super) fn moved(&mut self, bytes: u64) {
        if let Some(since) = self.since.take() {
            self.pace.waited(since.elapsed());
        }
        self.pace.moved(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: PaceLimit = PaceLimit { wait: Duration::from_secs(10), rate_min: 1_000 };

    #[test]
    fn a_client_at_the_least_rate_is_never_late_and_one_below_it_is() {
        let (mut at, mut below) = (Pace::new(LIMIT), Pace::new(LIMIT));
        for _ in 0..100 {
            at.waited(Duration::from_secs(1));
            at.moved(1_000);
            below.waited(Duration::from_secs(1));
            below.moved(800);
        }
        assert_eq!(at.left, LIMIT.wait);
        assert_eq!(below.left, Duration::ZERO.saturating_add(Duration::from_millis(800)));
    }

    #[test]
    fn speed_is_not_saved_up() {
        let mut pace = Pace::new(LIMIT);
        pace.moved(u64::MAX);
        assert_eq!(pace.left, LIMIT.wait);
        pace.waited(Duration::from_secs(11));
        assert_eq!(pace.left, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn only_time_in_which_the_client_is_waited_for_counts() {
        let mut clock = ClientClock::new(LIMIT);
        tokio::time::advance(Duration::from_secs(60)).await;
        let begun = Instant::now();
        assert_eq!(clock.wait(), begun + LIMIT.wait);
        tokio::time::advance(Duration::from_secs(4)).await;
        assert_eq!(clock.wait(), begun + LIMIT.wait, "it is the same wait");
        clock.moved(0);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(clock.wait(), Instant::now() + Duration::from_secs(6));
        std::future::poll_fn(|cx| clock.poll_used_up(cx)).await;
    }
}

//! Looks at a process of an image that took requests, where its manifest has them.
//!
//! Only one that is awake is looked at: a frozen one answers nothing and is well. Each thaw begins anew. So none is
//! frozen within a look or after one that failed: with a request now and then it would never be seen to fail in a row.

use std::{sync::Arc, time::Duration};

use dormouse_spec::Probe;
use tokio::{
    task::AbortHandle,
    time::{Instant, sleep_until},
};

use crate::{
    Inside,
    probe::{ProbeFailure, Seen, look},
};

/// Somebody who looks, until this is dropped.
#[derive(Debug)]
pub(crate) struct Watching {
    task: AbortHandle,
    /// What it told last: whether it is yet to come to a verdict.
    pub(crate) doubts: bool,
}

impl Watching {
    pub(crate) fn begin(watch: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { task: tokio::spawn(watch).abort_handle(), doubts: false }
    }

    /// Its verdict was told, whether or not somebody heard it.
    pub(crate) fn is_over(&self) -> bool {
        self.task.is_finished()
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LooksFor {
    Liveness,
    Readiness,
}

/// One look after the other, a period apart.
pub(crate) struct Looks {
    inside: Arc<Inside>,
    pub(crate) probe: Probe,
    next: Instant,
    /// The last one did not go well.
    failed: bool,
    tell_doubts: Box<dyn Fn(bool) + Send + Sync>,
}

impl std::fmt::Debug for Looks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Looks").field("probe", &self.probe).field("next", &self.next).finish_non_exhaustive()
    }
}

impl Looks {
    /// `created` is when the container began, from which the initial delay counts; None where that was long ago.
    pub(crate) fn begin(inside: Arc<Inside>, probe: Probe, created: Option<Instant>) -> Self {
        // One that has just begun to serve was looked at for that, and one that was thawed has a request to answer.
        let first = Instant::now() + period(&probe);
        let next = created.map_or(first, |created| first.max(created + probe.initial_delay));
        Self { inside, probe, next, failed: false, tell_doubts: Box::new(|_| {}) }
    }

    /// With somebody who is told when a look begins, and at its end whether it is to be followed by another before
    /// anything is certain: one that failed is no verdict yet.
    pub(crate) fn telling_doubts(self, tell: impl Fn(bool) + Send + Sync + 'static) -> Self {
        Self { tell_doubts: Box::new(tell), ..self }
    }

    /// # Errors
    /// What was seen where it did not go well.
    pub(crate) async fn next(&mut self) -> Result<(), ProbeFailure> {
        loop {
            sleep_until(self.next).await;
            self.next = Instant::now() + period(&self.probe);
            (self.tell_doubts)(true);
            let seen = look(&self.inside, &self.probe).await;
            // Without a socket, how it is was not seen.
            let was_seen = !matches!(seen, Err(ProbeFailure::NoSocket { .. }));
            if was_seen {
                self.failed = seen.is_err();
            }
            (self.tell_doubts)(self.failed);
            if was_seen {
                return seen;
            }
        }
    }
}

fn period(probe: &Probe) -> Duration {
    if probe.period.is_zero() { Probe::PERIOD_DEFAULT } else { probe.period }
}

/// What was seen last, and how often in a row it did not go well.
pub(crate) fn in_a_row(probe: &str, seen: Seen, times: u32) -> Seen {
    let times = if times == 1 { "once".to_owned() } else { format!("{times} times") };
    seen.map(|seen| format!("{probe}: {seen}, {times}"))
}

#[cfg(test)]
mod tests;

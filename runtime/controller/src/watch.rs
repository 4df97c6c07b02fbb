//! Looks at a process of an image that took requests, where its manifest has them.
//!
//! Only one that is awake is looked at: a frozen one answers nothing and is well. Each thaw begins anew.

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
pub(crate) struct Watching(AbortHandle);

impl Watching {
    pub(crate) fn begin(watch: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(watch).abort_handle())
    }

    /// Its verdict was told, whether or not somebody heard it.
    pub(crate) fn is_over(&self) -> bool {
        self.0.is_finished()
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// One look after the other, a period apart.
#[derive(Debug)]
pub(crate) struct Looks {
    inside: Arc<Inside>,
    pub(crate) probe: Probe,
    next: Instant,
}

impl Looks {
    /// `created` is when the container began, from which the initial delay counts; None where that was long ago.
    pub(crate) fn begin(inside: Arc<Inside>, probe: Probe, created: Option<Instant>) -> Self {
        // One that has just begun to serve was looked at for that, and one that was thawed has a request to answer.
        let first = Instant::now() + period(&probe);
        let next = created.map_or(first, |created| first.max(created + probe.initial_delay));
        Self { inside, probe, next }
    }

    /// # Errors
    /// What was seen where it did not go well.
    pub(crate) async fn next(&mut self) -> Result<(), ProbeFailure> {
        loop {
            sleep_until(self.next).await;
            self.next = Instant::now() + period(&self.probe);
            match look(&self.inside, &self.probe).await {
                // How it is was not seen.
                Err(ProbeFailure::NoSocket { .. }) => {}
                seen => return seen,
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

//! Whether a process of an image that took requests still does, where its manifest has a `livenessProbe`.
//!
//! Only one that is awake is looked at: a frozen one answers nothing and is well. Each thaw begins the count anew.

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
    /// `tell` is told once, of as many failures in a row as it takes. `created` is when the container began, from
    /// which the initial delay counts; None where that was long ago.
    pub(crate) fn begin(
        inside: Arc<Inside>,
        probe: Probe,
        created: Option<Instant>,
        tell: impl FnOnce(Seen) + Send + 'static,
    ) -> Self {
        let task = tokio::spawn(async move { tell(until_failed(&inside, &probe, created).await) });
        Self(task.abort_handle())
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

/// What was seen last, and how often in a row.
async fn until_failed(inside: &Inside, probe: &Probe, created: Option<Instant>) -> Seen {
    // One that has just begun to serve was looked at for that, and one that was thawed has a request to answer.
    let first = Instant::now() + period(probe);
    let mut next = created.map_or(first, |created| first.max(created + probe.initial_delay));
    let mut failures = 0;
    loop {
        sleep_until(next).await;
        next = Instant::now() + period(probe);
        match look(inside, probe).await {
            Ok(()) => failures = 0,
            // Whether it is well was not seen.
            Err(ProbeFailure::NoSocket { .. }) => {}
            Err(failure) => {
                failures += 1;
                if failures >= probe.failure_threshold {
                    return Seen::from(&failure).map(|seen| cause(seen, failures));
                }
            }
        }
    }
}

fn period(probe: &Probe) -> Duration {
    if probe.period.is_zero() { Probe::PERIOD_DEFAULT } else { probe.period }
}

fn cause(seen: &str, times: u32) -> String {
    let times = if times == 1 { "once".to_owned() } else { format!("{times} times") };
    format!("liveness probe: {seen}, {times}")
}

#[cfg(test)]
mod tests;

//! Whether a process of an image takes requests: it cannot say so itself, so it is looked at.

mod awake;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use dormouse_spec::Probe;
use tokio::{
    task::AbortHandle,
    time::{Instant, sleep, sleep_until},
};

use crate::{
    Inside,
    probe::{ProbeFailure, Seen, look},
};

pub(crate) use awake::keep_looking;

/// Between two looks where nobody said how long: short at first, since most of the time of a wake is waited
/// here, then longer, since a process that loads for minutes must not be kept from it.
const PAUSE_FIRST: Duration = Duration::from_micros(500);
const PAUSE_LAST: Duration = Duration::from_millis(50);
/// Where a process is made for each look.
const PAUSE_FIRST_OF_COMMANDS: Duration = Duration::from_millis(10);
const PAUSE_LAST_OF_COMMANDS: Duration = Duration::from_millis(500);

/// What somebody who looks has to tell.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// Why, where that is not what was told before.
    NotReady(Seen),
    /// Of one that starts, the last that is told.
    Ready,
}

/// Somebody who looks at one that starts, until this is dropped.
#[derive(Debug)]
pub(crate) struct Looking(AbortHandle);

impl Looking {
    pub(crate) fn begin(inside: Arc<Inside>, probes: Vec<Probe>, tell: impl Fn(Look) + Send + Sync + 'static) -> Self {
        let task = tokio::spawn(async move {
            let last = Mutex::new(None);
            until_ready(inside, &probes, |failure| {
                let seen = Some(Seen::from(failure));
                let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
                if *last != seen {
                    last.clone_from(&seen);
                    seen.into_iter().for_each(|seen| tell(Look::NotReady(seen)));
                }
            })
            .await;
            tell(Look::Ready);
        });
        Self(task.abort_handle())
    }
}

impl Drop for Looking {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Looks until all went well, one after the other, and says what it sees while one does not.
pub(crate) async fn until_ready(inside: Arc<Inside>, probes: &[Probe], saw: impl Fn(&ProbeFailure)) {
    let begun = Instant::now();
    for probe in probes {
        sleep_until(begun + probe.initial_delay).await;
        until_well(&inside, probe, &saw).await;
    }
}

async fn until_well(inside: &Inside, probe: &Probe, saw: impl Fn(&ProbeFailure)) {
    let (mut pause, last) = match probe.handler.command() {
        None => (PAUSE_FIRST, PAUSE_LAST),
        Some(_) => (PAUSE_FIRST_OF_COMMANDS, PAUSE_LAST_OF_COMMANDS),
    };
    let mut good = 0;
    loop {
        match look(inside, probe).await {
            Ok(()) => {
                good += 1;
                if good >= probe.success_threshold {
                    return;
                }
            }
            Err(failure) => {
                good = 0;
                saw(&failure);
            }
        }
        if probe.period.is_zero() {
            sleep(pause).await;
            pause = pause.saturating_mul(2).min(last);
        } else {
            sleep(probe.period).await;
        }
    }
}

#[cfg(test)]
mod tests;

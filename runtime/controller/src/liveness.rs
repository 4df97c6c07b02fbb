//! Whether a process of an image that took requests still lives, where its manifest has a `livenessProbe`.

use crate::{
    probe::Seen,
    watch::{Looks, in_a_row},
};

/// What was seen once it failed as often in a row as it may.
pub(crate) async fn until_failed(mut looks: Looks) -> Seen {
    let mut failures = 0;
    loop {
        match looks.next().await {
            Ok(()) => failures = 0,
            Err(failure) => {
                failures += 1;
                if failures >= looks.probe.failure_threshold {
                    return in_a_row("liveness probe", Seen::from(&failure), failures);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;

//! Waiting for a condition.

use std::{
    fmt::Display,
    thread::sleep,
    time::{Duration, Instant},
};

/// Far beyond what anything takes on a loaded machine; reached only where something is wrong.
pub const DEADLINE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Looks until `look` finds something.
///
/// # Panics
/// Names `what` where [`DEADLINE`] passes.
#[track_caller]
pub fn until<T>(what: impl Display, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < DEADLINE, "waited {DEADLINE:?} in vain: {what}");
        sleep(LOOK_EVERY);
    }
}

/// Looks until `holds` is true.
///
/// # Panics
/// As [`until`].
#[track_caller]
pub fn until_true(what: impl Display, mut holds: impl FnMut() -> bool) {
    until(what, || holds().then_some(()));
}

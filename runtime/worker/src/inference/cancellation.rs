//! Ending a computation whose caller has gone.

use std::sync::{Arc, Mutex, PoisonError};

use ort::session::RunOptions;

/// Shared between the connection that waits for an answer and the thread that computes it.
#[derive(Clone, Default)]
pub(crate) struct Cancellation(Arc<Mutex<State>>);

#[derive(Default)]
enum State {
    #[default]
    Waiting,
    Running(Arc<RunOptions>),
    Cancelled,
}

impl std::fmt::Debug for Cancellation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cancellation").finish_non_exhaustive()
    }
}

impl Cancellation {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Registers a run so that it can be ended; `false` if it has been already and need not begin.
    pub(crate) fn begin(&self, run: Arc<RunOptions>) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, State::Cancelled) {
            return false;
        }
        *state = State::Running(run);
        true
    }

    /// Ends the run, now or before it begins. ONNX Runtime looks between operators, so one long operator still
    /// finishes.
    fn cancel(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Running(run) = std::mem::replace(&mut *state, State::Cancelled) {
            // A run that cannot be told to end runs to its end, which is what would happen anyway.
            let _ = run.terminate();
        }
    }
}

/// Cancels when dropped: a connection that closes drops what waits for its answer. Dropping it after the answer
/// has come does nothing.
#[derive(Debug)]
pub(crate) struct CancelOnDrop(pub(crate) Cancellation);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

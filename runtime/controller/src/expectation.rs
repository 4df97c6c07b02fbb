use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::{
    endpoint::{EndpointHandle, Returns},
    policy::ExpectationId,
};

/// A request of which only the head is here: its replica wakes meanwhile. It is passed to
/// [`Controller::acquire_expected`](crate::Controller::acquire_expected) once the beginning of the body
/// is here; dropping it tells that the client went away.
///
/// It grants nothing, and holds nothing but a mark.
#[derive(Debug)]
pub struct Expectation {
    handle: EndpointHandle,
    id: ExpectationId,
    mark: Option<Mark>,
}

/// The end of an expectation that is not told by a message: it must not wait for room in an inbox.
#[derive(Debug)]
struct Mark {
    ended: Arc<AtomicBool>,
    returns: Arc<Returns>,
}

impl Expectation {
    pub(crate) fn new(
        handle: EndpointHandle,
        id: ExpectationId,
        ended: Arc<AtomicBool>,
        returns: Arc<Returns>,
    ) -> Self {
        Self { handle, id, mark: Some(Mark { ended, returns }) }
    }

    pub(crate) fn handle(&self) -> &EndpointHandle {
        &self.handle
    }

    pub(crate) fn id(&self) -> ExpectationId {
        self.id
    }

    /// Whoever took its id ends it.
    pub(crate) fn handed_over(mut self) {
        self.mark = None;
    }
}

impl Drop for Expectation {
    fn drop(&mut self) {
        if let Some(Mark { ended, returns }) = self.mark.take() {
            ended.store(true, Ordering::Release);
            returns.someone_left();
        }
    }
}

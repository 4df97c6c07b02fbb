//! Replicas that served and take no requests for now.

use super::EndpointPolicy;
use crate::policy::{Action, Note, ReplicaKey, State};

impl EndpointPolicy {
    /// It keeps what it has, and counts as what it was: nothing starts in its place.
    pub(super) fn unready(&mut self, key: ReplicaKey, cause: String, actions: &mut Vec<Action>) {
        let Some(replica) = self.replicas.get_mut(&key) else { return };
        match &mut replica.state {
            State::Ready => {
                replica.state = State::Unready { cause: cause.clone() };
                actions.push(Action::Note(Note::Unready { replica: key, cause }));
            }
            State::Unready { cause: before } => *before = cause,
            // What was seen before it went to sleep, or of one that gets no requests any more.
            _ => {}
        }
    }

    /// It would be frozen with the count of its failures, and thawed without it.
    pub(super) fn doubted(&mut self, key: ReplicaKey, doubted: bool) {
        if let Some(replica) = self.replicas.get_mut(&key) {
            replica.doubted = doubted;
        }
    }

    pub(super) fn ready_again(&mut self, key: ReplicaKey, actions: &mut Vec<Action>) {
        if let Some(replica) = self.replicas.get_mut(&key)
            && let State::Unready { .. } = replica.state
        {
            replica.state = State::Ready;
            actions.push(Action::Note(Note::ReadyAgain { replica: key }));
        }
    }
}

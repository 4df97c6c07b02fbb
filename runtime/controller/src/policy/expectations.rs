use std::collections::BTreeMap;

use super::{ExpectationId, Time};
use crate::defence::Defence;

/// Requests whose heads are here and whose bodies are not. For all of them together one replica is
/// woken and kept from rest; nobody is granted anything by it.
///
/// Heads cost a client nothing. So where no request came whole since the first of them, they are
/// believed for as long as that one is waited for, and then no more until one comes. However many
/// follow each other, they wake the endpoint once.
#[derive(Debug, Default)]
pub(super) struct Expectations {
    /// How long each is waited for.
    waits: BTreeMap<ExpectationId, Time>,
    /// Set by the first head since a request came whole.
    believed_until: Option<Time>,
}

impl Expectations {
    pub(super) fn insert(&mut self, expectation: ExpectationId, until: Time) {
        self.waits.insert(expectation, until);
        self.believed_until.get_or_insert(until);
    }

    pub(super) fn remove(&mut self, expectation: ExpectationId) {
        self.waits.remove(&expectation);
    }

    pub(super) fn request_came(&mut self) {
        self.believed_until = None;
    }

    pub(super) fn expire(&mut self, now: Time) {
        self.waits.retain(|_, until| *until > now);
    }

    pub(super) fn hold(&self, now: Time) -> bool {
        self.end().is_some_and(|end| end > now)
    }

    /// When the last of them is given up, if nothing happens before.
    pub(super) fn end(&self) -> Option<Time> {
        let last = self.waits.values().max().copied()?;
        let doubted_from = self.believed_until.filter(|_| Defence::HeadsDoubted.stands());
        Some(doubted_from.map_or(last, |from| from.min(last)))
    }
}

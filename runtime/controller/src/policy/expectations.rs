use std::collections::BTreeMap;

use super::{ExpectationId, Time};
use crate::defence::Defence;

/// Requests whose heads are here and whose bodies are not. For all of them together one replica is
/// woken and kept from rest; nobody is granted anything by it.
///
/// Heads cost a client nothing, so they are believed only so far: see [`Belief`].
#[derive(Debug, Default)]
pub(super) struct Expectations {
    /// How long each is waited for.
    waits: BTreeMap<ExpectationId, Time>,
    belief: Belief,
}

/// What heads count for. However many follow each other, they wake the endpoint once, for as long as
/// one client is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Belief {
    /// A request came whole, and no head since.
    #[default]
    Whole,
    /// Heads came since, the first of which is waited for until then.
    Until(Time),
    /// Those came to nothing: the next wake is for a request that came whole.
    Spent,
}

impl Expectations {
    pub(super) fn insert(&mut self, expectation: ExpectationId, until: Time) {
        self.waits.insert(expectation, until);
        if self.belief == Belief::Whole {
            self.belief = Belief::Until(until);
        }
    }

    pub(super) fn remove(&mut self, expectation: ExpectationId) {
        self.waits.remove(&expectation);
        self.doubt();
    }

    pub(super) fn request_came(&mut self) {
        self.belief = Belief::Whole;
    }

    pub(super) fn expire(&mut self, now: Time) {
        self.waits.retain(|_, until| *until > now);
        self.doubt();
    }

    fn doubt(&mut self) {
        if self.waits.is_empty() && self.belief != Belief::Whole && Defence::HeadsDoubted.stands() {
            self.belief = Belief::Spent;
        }
    }

    pub(super) fn hold(&self, now: Time) -> bool {
        self.end().is_some_and(|end| end > now)
    }

    /// When the last of them is given up, if nothing happens before.
    pub(super) fn end(&self) -> Option<Time> {
        let last = self.waits.values().max().copied()?;
        match self.belief {
            Belief::Until(until) if Defence::HeadsDoubted.stands() => Some(until.min(last)),
            Belief::Whole | Belief::Until(_) => Some(last),
            Belief::Spent => None,
        }
    }
}

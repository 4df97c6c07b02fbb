//! What became of requests. There is a right answer, a refusal that says so, and, while something was
//! killed that stood between, a broken connection. All else is wrong.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use dormouse_tests::Response;

use crate::model::Worker;

/// Wrong ones that are told in full; of the others their number.
const WRONG_TOLD_MAX: usize = 20;

/// Kills of something that every request passes, and its return.
#[derive(Debug, Default)]
pub(crate) struct Deaths {
    of_daemon: Spells,
    of_node: Spells,
}

#[derive(Debug, Default)]
struct Spells {
    begun: AtomicU64,
    over: AtomicU64,
}

/// When a request was begun.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Begun {
    daemon: Since,
    node: Since,
}

#[derive(Debug, Clone, Copy)]
struct Since {
    begun: u64,
    in_between: bool,
}

impl Spells {
    fn now(&self) -> Since {
        let over = self.over.load(Ordering::SeqCst);
        let begun = self.begun.load(Ordering::SeqCst);
        Since { begun, in_between: over != begun }
    }

    /// Whether it was dead then, or died since.
    fn touch(&self, since: Since) -> bool {
        since.in_between || self.begun.load(Ordering::SeqCst) != since.begun
    }

    fn last<T>(&self, spell: impl FnOnce() -> T) -> T {
        self.begun.fetch_add(1, Ordering::SeqCst);
        let result = spell();
        self.over.fetch_add(1, Ordering::SeqCst);
        result
    }
}

impl Deaths {
    /// Kills the daemon with all it has, and waits for the next one.
    pub(crate) fn of_daemon<T>(&self, kill_and_wait: impl FnOnce() -> T) -> T {
        self.of_daemon.last(kill_and_wait)
    }

    /// Kills the node, and waits for the next one. The listeners stay.
    pub(crate) fn of_node<T>(&self, kill_and_wait: impl FnOnce() -> T) -> T {
        self.of_node.last(kill_and_wait)
    }

    pub(crate) fn now(&self) -> Begun {
        Begun { daemon: self.of_daemon.now(), node: self.of_node.now() }
    }

    /// Whether a request may not even be taken.
    pub(crate) fn may_refuse(&self, since: Begun) -> bool {
        self.of_daemon.touch(since.daemon)
    }

    /// Whether a request that was taken may break.
    pub(crate) fn may_break(&self, since: Begun) -> bool {
        self.may_refuse(since) || self.of_node.touch(since.node)
    }
}

/// How an exchange with the daemon ended.
#[derive(Debug)]
pub(crate) enum Told {
    Answer(Response),
    NotTaken(io::Error),
    Broken(io::Error),
}

/// What is allowed besides the right answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Allowed {
    /// Nothing is killed or deleted.
    Nothing,
    /// The endpoint may be on its way in or out.
    NotThere,
    /// Whatever serves it may be killed; the endpoint stays.
    Failures,
    /// Both.
    FailuresAndNotThere,
}

impl Allowed {
    fn statuses(self) -> &'static [u16] {
        match self {
            Self::Nothing => &[],
            Self::NotThere => &[404, 503],
            Self::Failures => &[502, 503, 504],
            Self::FailuresAndNotThere => &[404, 502, 503, 504],
        }
    }
}

/// What was asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) worker: Worker,
    pub(crate) endpoint: &'a str,
    pub(crate) number: u64,
    pub(crate) allowed: Allowed,
}

/// Counts of all that became of requests.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    counts: Mutex<BTreeMap<String, u64>>,
    wrong: Mutex<Vec<String>>,
    pub(crate) deaths: Deaths,
}

impl Answers {
    pub(crate) fn take(&self, asked: Asked<'_>, begun: Begun, told: Told) {
        match told {
            Told::Answer(answer) => self.take_answer(asked, &answer),
            Told::NotTaken(_) if self.deaths.may_refuse(begun) => self.count("not taken, no daemon"),
            // The client waits far longer than any deadline of the daemon.
            Told::Broken(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                self.wrong(format!("{asked:?}: no answer at all: {error}"));
            }
            Told::Broken(_) if self.deaths.may_break(begun) => self.count("broken by a kill"),
            Told::NotTaken(error) | Told::Broken(error) => {
                self.wrong(format!("{asked:?}: broken, and nothing was killed: {error}"));
            }
        }
    }

    fn take_answer(&self, asked: Asked<'_>, answer: &Response) {
        let body = serde_json::from_slice(&answer.body).unwrap_or_default();
        if answer.status == 200 {
            if asked.worker.answers(&body, asked.endpoint, asked.number) {
                return self.count("right answers");
            }
            return self.wrong(format!("{asked:?}: the answer is not to this: {}", answer.text()));
        }
        let says_why = body.as_object().is_some_and(|body| body.len() == 1 && body["error"].is_string());
        let says_when = answer.status != 503 || answer.header("retry-after").is_some();
        if asked.allowed.statuses().contains(&answer.status) && says_why && says_when {
            return self.count(&format!("refused with {}", answer.status));
        }
        self.wrong(format!("{asked:?}: answered with {}: {}", answer.status, answer.text()));
    }

    pub(crate) fn count(&self, what: &str) {
        self.count_many(what, 1);
    }

    pub(crate) fn count_many(&self, what: &str, times: u64) {
        *self.counts.lock().unwrap().entry(what.to_owned()).or_default() += times;
    }

    pub(crate) fn wrong(&self, what: String) {
        let mut wrong = self.wrong.lock().unwrap();
        if wrong.len() < WRONG_TOLD_MAX {
            eprintln!("WRONG: {what}");
        }
        wrong.push(what);
    }

    pub(crate) fn counted(&self) -> BTreeMap<String, u64> {
        self.counts.lock().unwrap().clone()
    }

    pub(crate) fn wrong_ones(&self) -> usize {
        self.wrong.lock().unwrap().len()
    }
}

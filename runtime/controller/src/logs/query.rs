use std::{num::NonZeroU32, time::Duration};

use super::stamp::Stamp;

/// Lines of each replica that may be asked for with [`LogQuery::tail`]; there never are more in its files.
pub const TAIL_LINES_MAX: u32 = 1_000_000;

/// Which lines of an endpoint's logs are wanted, and how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// Also those to come.
    pub follow: bool,
    /// Each with the time at which it was read.
    pub timestamps: bool,
    /// None that was read longer ago.
    pub since: Option<Duration>,
    /// Of each replica no more than so many that are there already, the last.
    pub tail: Option<NonZeroU32>,
}

/// How lines are chosen and shown.
#[derive(Debug, Clone)]
pub(super) struct Choice {
    timestamps: bool,
    since: Option<Stamp>,
    pub(super) tail: Option<NonZeroU32>,
}

impl From<LogQuery> for Choice {
    fn from(LogQuery { timestamps, since, tail, .. }: LogQuery) -> Self {
        Self { timestamps, since: since.map(Stamp::ago), tail }
    }
}

impl Choice {
    /// Whether a line of a file is wanted. One without a time is older than any that has one.
    pub(super) fn takes(&self, line: &str) -> bool {
        match &self.since {
            Some(since) => Stamp::divide(line).is_some_and(|(stamp, _)| stamp >= since.as_str()),
            None => true,
        }
    }

    /// A line of a file as it is shown.
    pub(super) fn shown<'a>(&self, line: &'a str) -> &'a str {
        match Stamp::divide(line) {
            Some((_, text)) if !self.timestamps => text,
            _ => line,
        }
    }

    /// The time of a line before it, where it is to be shown.
    pub(super) fn prefix(&self, read_at: &Stamp) -> String {
        if self.timestamps { format!("{read_at} ") } else { String::new() }
    }
}

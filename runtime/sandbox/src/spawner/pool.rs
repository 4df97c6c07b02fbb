//! Blanks: sandboxes that are complete but for a model, kept ready so that a wake need not make one.
//!
//! A blank has its namespaces, its control group, its filter and no capability, and ONNX Runtime's
//! environment is there; its worker waits in one read and uses no processor time. To claim it is to
//! raise its limits and to send it a socket and a file. It keeps its host uid, which no endpoint has,
//! and the name of its group: only the spawner's table changes.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use dormouse_spec::{Bytes, Limits, MilliCpu};

use super::sandbox::{BeginError, Plan, Sandbox, Workshop};
use crate::{messages::Premade, uids::UidRange};

/// Processes and threads of a blank, which has one.
const BLANK_PIDS: u32 = 8;
/// Nobody waits for a blank.
const BLANK_CPU: MilliCpu = MilliCpu::from_milli(1_000);
/// A blank that did not come to be is tried again after this, doubling up to the most.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);
/// While replicas start, the pool is not filled: they need the processors. But it is after this.
const STARTS_GO_FIRST: Duration = Duration::from_secs(1);

/// How many blanks are kept, and what each may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolSettings {
    /// 0 for none: every replica's sandbox is made when it is asked for.
    pub size: u32,
    /// The limit of each while it waits. A replica of less cannot be made of one.
    pub memory: Bytes,
    /// The size of its /tmp. Only a replica of exactly this can be made of it.
    pub tmp: Bytes,
}

/// Numbers blanks; never used twice by one daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BlankId(pub(super) u64);

#[derive(Debug)]
pub(super) struct Pool {
    settings: PoolSettings,
    uids: std::ops::Range<u32>,
    pub(super) blanks: BTreeMap<BlankId, Sandbox>,
    made: u64,
    /// The uid that is looked at first, so that one is used again as late as possible.
    next_uid: u32,
    /// Since when one is missing.
    short_since: Option<Instant>,
    retry: Option<Retry>,
    told_ready: u32,
}

/// After a blank that did not come to be.
#[derive(Debug)]
struct Retry {
    at: Instant,
    next_in: Duration,
}

impl Pool {
    pub(super) fn new(settings: PoolSettings, range: UidRange) -> Self {
        let uids = range.blank_uids();
        Self {
            settings,
            next_uid: uids.start,
            uids,
            blanks: BTreeMap::new(),
            made: 0,
            short_since: None,
            retry: None,
            told_ready: 0,
        }
    }

    /// Whether a blank waits that a replica with these limits can be made of.
    pub(super) fn has_one_for(&self, limits: &Limits) -> bool {
        let fits = limits.tmp == self.settings.tmp && limits.memory >= self.settings.memory;
        fits && self.blanks.values().any(is_ready)
    }

    /// Takes the blank that has waited longest.
    pub(super) fn take(&mut self) -> Option<(BlankId, Sandbox)> {
        let id = self.blanks.iter().find(|(_, blank)| is_ready(blank)).map(|(id, _)| *id)?;
        self.retry = None;
        self.blanks.remove(&id).map(|blank| (id, blank))
    }

    /// How many can be claimed, where that is not what was told last.
    pub(super) fn ready_untold(&mut self) -> Option<u32> {
        let ready = u32::try_from(self.blanks.values().filter(|blank| is_ready(blank)).count()).unwrap_or(u32::MAX);
        (std::mem::replace(&mut self.told_ready, ready) != ready).then_some(ready)
    }

    /// To a node that was told nothing yet.
    pub(super) fn told_nothing(&mut self) {
        self.told_ready = 0;
    }

    /// When the next blank is to be made: one after the other, so that none is in the way of wakes for
    /// longer than it must. `calm_from` is when no replica starts any more, where that can be told.
    pub(super) fn due(&mut self, now: Instant, calm_from: Option<Instant>) -> Option<Instant> {
        let living = self.blanks.values().filter(|blank| !blank.is_over());
        let in_the_making = self.blanks.values().any(|blank| !blank.is_over() && !is_ready(blank));
        if living.count() >= usize::try_from(self.settings.size).unwrap_or(usize::MAX) {
            self.short_since = None;
            return None;
        }
        if in_the_making {
            return None;
        }
        let since = *self.short_since.get_or_insert(now);
        let latest = since + STARTS_GO_FIRST;
        let begin = calm_from.map_or(latest, |from| from.min(latest));
        Some(self.retry.as_ref().map_or(begin, |retry| begin.max(retry.at)))
    }

    /// Begins one more. `in_use` are uids of processes that were blanks.
    pub(super) fn begin_one(&mut self, workshop: &Workshop<'_>, in_use: &BTreeSet<u32>) -> Result<(), PoolError> {
        let start = if self.uids.contains(&self.next_uid) { self.next_uid } else { self.uids.start };
        let mut in_turn = (start..self.uids.end).chain(self.uids.start..start);
        let uid = in_turn.find(|uid| !in_use.contains(uid)).ok_or(PoolError::NoUid)?;
        self.next_uid = uid + 1;
        self.made += 1;
        let name = Premade::Blank(self.made).name();
        let limits = Limits { cpu: BLANK_CPU, memory: self.settings.memory, pids: BLANK_PIDS, tmp: self.settings.tmp };
        let plan = Plan { name: &name, uid, limits, model: None, is_template: false };
        let blank = Sandbox::begin(workshop, plan, |_| Ok(()))?;
        self.blanks.insert(BlankId(self.made), blank);
        Ok(())
    }

    /// One did not come to be, or ended while it waited. That another one waits forgives nothing: it may
    /// end likewise. A claim does, or that nothing failed for long.
    pub(super) fn failed(&mut self, now: Instant) {
        let recent = self.retry.as_ref().filter(|retry| now < retry.at + RETRY_MAX);
        let wait = recent.map_or(RETRY_FIRST, |retry| retry.next_in);
        self.retry = Some(Retry { at: now + wait, next_in: (wait * 2).min(RETRY_MAX) });
    }
}

/// Why a blank could not be begun.
#[derive(Debug, thiserror::Error)]
pub(super) enum PoolError {
    #[error("processes run as each of the uids for blanks: raise `uid_count` in [sandbox]")]
    NoUid,
    #[error(transparent)]
    Begin(#[from] BeginError),
}

fn is_ready(blank: &Sandbox) -> bool {
    blank.is_blank() && !blank.is_over() && !blank.was_told_to_stop()
}

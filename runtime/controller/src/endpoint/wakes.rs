//! The wakes of one endpoint: those that go on, and the last that ended.
//!
//! Times are those of the node's clock. Only how the time of a loading divides is the replica's word,
//! and no share of it can be longer than the loading was by the node's clock.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use dormouse_sandbox::messages::{LoadPhases, Origin, ReplicaId};
use tokio::time::Instant;

use crate::{Asked, Rung, WakeOutcome, WakePhase, WakeView, lease::FirstUse, metrics::Metrics, policy::ReplicaKey};

/// Wakes of one endpoint that are remembered.
const ENDED_MAX: usize = 16;

#[derive(Debug)]
pub(super) struct Wakes {
    going_on: BTreeMap<ReplicaKey, Wake>,
    /// The newest first.
    ended: VecDeque<Arc<WakeView>>,
    is_changed: bool,
    metrics: Metrics,
}

#[derive(Debug)]
struct Wake {
    replica: ReplicaId,
    rung: Rung,
    asked: Asked,
    began: Instant,
    /// Until when its phases tell.
    told_until: Instant,
    phases: Vec<(WakePhase, Duration)>,
    origin: Option<Origin>,
    stage: Stage,
    /// Which phase ends when the spawner is asked.
    waits_for: WakePhase,
}

#[derive(Debug)]
enum Stage {
    Starting,
    Ready,
    /// Ready, and its request is yet to come.
    Awaiting,
    Granted(Arc<FirstUse>),
}

impl Wake {
    fn lap(&mut self, phase: WakePhase, until: Instant) {
        self.phases.push((phase, until.saturating_duration_since(self.told_until)));
        self.told_until = self.told_until.max(until);
    }

    fn answered(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Granted(first) => first.answered(),
            _ => None,
        }
    }

    /// The time since the last phase is the loading; the replica says how it divides.
    fn lap_loading(&mut self, load: LoadPhases, until: Instant) {
        let mut left = until.saturating_duration_since(self.told_until);
        let mut share = |phase, micros| {
            let time = Duration::from_micros(micros).min(left);
            left -= time;
            (phase, time)
        };
        let runtime = if self.rung.waits_for_runtime() { load.runtime_us } else { 0 };
        let told = [
            share(WakePhase::Runtime, runtime),
            share(WakePhase::Model, load.model_us),
            share(WakePhase::Session, load.session_us),
        ];
        self.phases.push((WakePhase::Start, left));
        self.phases.extend(told);
        self.told_until = self.told_until.max(until);
    }
}

impl Wakes {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self { going_on: BTreeMap::new(), ended: VecDeque::new(), is_changed: false, metrics }
    }

    /// The last that ended, the newest first.
    pub(super) fn ended(&self) -> Vec<Arc<WakeView>> {
        self.ended.iter().cloned().collect()
    }

    /// Whether one ended since this was last asked.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.is_changed)
    }

    pub(super) fn begin(&mut self, key: ReplicaKey, replica: ReplicaId, rung: Rung, asked: Asked, began: Instant) {
        self.end(key, WakeOutcome::Unused);
        let wake = Wake {
            replica,
            rung,
            asked,
            began,
            told_until: began,
            phases: Vec::new(),
            origin: None,
            stage: Stage::Starting,
            waits_for: WakePhase::Queue,
        };
        self.going_on.insert(key, wake);
    }

    /// From where a replica that starts does. One whose wake is not known outlived a node process.
    pub(super) fn rung(&self, key: ReplicaKey) -> Rung {
        self.going_on.get(&key).map_or(Rung::Created, |wake| wake.rung)
    }

    /// There is memory, and the replica waits for its template.
    pub(super) fn await_template(&mut self, key: ReplicaKey, now: Instant) {
        if let Some(wake) = self.going_on.get_mut(&key) {
            wake.lap(wake.waits_for, now);
            wake.waits_for = WakePhase::Template;
        }
    }

    /// The spawner is asked.
    pub(super) fn create(&mut self, key: ReplicaKey, now: Instant) {
        if let Some(wake) = self.going_on.get_mut(&key) {
            wake.lap(wake.waits_for, now);
        }
    }

    pub(super) fn created(&mut self, key: ReplicaKey, origin: Origin, now: Instant) {
        if let Some(wake) = self.going_on.get_mut(&key) {
            wake.rung = origin.into();
            wake.lap(wake.rung.container(), now);
            wake.origin = Some(origin);
        }
    }

    pub(super) fn ready(&mut self, key: ReplicaKey, load: LoadPhases, now: Instant) {
        if let Some(wake) = self.going_on.get_mut(&key) {
            wake.lap_loading(load, now);
            wake.stage = Stage::Ready;
        }
    }

    /// As it was seen from outside, so that nothing is known of how the time divides.
    pub(super) fn serves(&mut self, key: ReplicaKey, now: Instant) {
        if let Some(wake) = self.going_on.get_mut(&key) {
            wake.lap(WakePhase::Start, now);
            wake.stage = Stage::Ready;
        }
    }

    pub(super) fn thawed(&mut self, key: ReplicaKey, now: Instant) {
        if let Some(wake) = self.going_on.get_mut(&key)
            && wake.rung == Rung::Frozen
            && wake.phases.is_empty()
        {
            // The answer may have overtaken what the spawner told.
            let answered = wake.answered().map_or(now, |answered| answered.min(now));
            wake.lap(WakePhase::Thaw, answered);
            if let Stage::Starting = wake.stage {
                wake.stage = Stage::Ready;
            }
        }
    }

    /// A request gets the replica; what becomes of it is watched where it is the first.
    pub(super) fn granted(&mut self, key: ReplicaKey, now: Instant) -> Option<Arc<FirstUse>> {
        let wake = self.going_on.get_mut(&key)?;
        match wake.stage {
            Stage::Granted(_) => return None,
            Stage::Awaiting => wake.lap(WakePhase::Body, now),
            Stage::Starting | Stage::Ready => {}
        }
        let first = Arc::new(FirstUse::default());
        wake.stage = Stage::Granted(Arc::clone(&first));
        Some(first)
    }

    /// Ends what has come to its end by now. `is_expected` where a request is on its way.
    pub(super) fn settle(&mut self, is_expected: bool) {
        let mut over = Vec::new();
        for (key, wake) in &mut self.going_on {
            let outcome = match &wake.stage {
                Stage::Starting => continue,
                Stage::Ready | Stage::Awaiting if is_expected => {
                    wake.stage = Stage::Awaiting;
                    continue;
                }
                Stage::Ready | Stage::Awaiting if wake.asked == Asked::MinReplicas => WakeOutcome::Ready,
                Stage::Ready | Stage::Awaiting => WakeOutcome::Unused,
                Stage::Granted(first) => match first.answered() {
                    // That it was thawed is told in any case.
                    Some(_) if wake.rung == Rung::Frozen && wake.phases.is_empty() => continue,
                    Some(answered) => {
                        wake.lap(WakePhase::FirstInference, answered);
                        WakeOutcome::Answered
                    }
                    None if first.is_over() => WakeOutcome::Unanswered,
                    None => continue,
                },
            };
            over.push((*key, outcome));
        }
        for (key, outcome) in over {
            self.end(key, outcome);
        }
    }

    pub(super) fn fail(&mut self, key: ReplicaKey, cause: &str) {
        self.end(key, WakeOutcome::Failed { cause: cause.to_owned() });
    }

    /// Nothing of the replica is left.
    pub(super) fn gone(&mut self, key: ReplicaKey) {
        self.end(key, WakeOutcome::Unused);
    }

    fn end(&mut self, key: ReplicaKey, outcome: WakeOutcome) {
        let Some(wake) = self.going_on.remove(&key) else { return };
        let outcome = match (outcome, wake.stage) {
            (WakeOutcome::Unused, Stage::Granted(_)) => WakeOutcome::Unanswered,
            (outcome, _) => outcome,
        };
        let Wake { replica, rung, asked, began, told_until, phases, origin, .. } = wake;
        let total = match outcome {
            WakeOutcome::Answered => told_until,
            _ => told_until.max(Instant::now()),
        }
        .saturating_duration_since(began);
        let ended = WakeView { replica, rung, asked, began, phases, origin, total, outcome };
        self.metrics.wake(&ended);
        self.ended.truncate(ENDED_MAX - 1);
        self.ended.push_front(Arc::new(ended));
        self.is_changed = true;
    }
}

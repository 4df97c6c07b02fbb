mod endpoints;

use std::{sync::Arc, time::Duration};

use dormouse_sandbox::messages::{CreatePhases, Origin};
use dormouse_spec::{Bytes, EndpointName};
use prometheus::{Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use self::endpoints::EndpointGauges;
use crate::{Rung, WakeOutcome, WakeView, directory::Directory, images::GcCounters};

/// From a thaw in half a millisecond to a large model in half a minute.
const WAKE_SECONDS_BUCKETS: [f64; 16] =
    [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Ok,
    Failed,
}

impl Outcome {
    const ALL: [Self; 2] = [Self::Ok, Self::Failed];

    fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
        }
    }
}

/// What the controller counts, in the registry that was handed in. Shared: every endpoint at rest has a handle or
/// two on it.
#[derive(Debug, Clone)]
pub(crate) struct Metrics(Arc<Series>);

#[derive(Debug)]
struct Series {
    starts: IntCounterVec,
    wake_phase_seconds: HistogramVec,
    creation_phase_seconds: HistogramVec,
    claim_seconds: Histogram,
    fork_seconds: Histogram,
    memory_budget: IntGauge,
    memory_used: IntGauge,
    slowest_turn: Gauge,
    blanks: IntGauge,
    preparations: IntCounterVec,
    images_removed: IntCounter,
    image_bytes_removed: IntCounter,
}

impl Metrics {
    pub(crate) fn register(registry: &Registry, directory: Directory) -> Result<Self, prometheus::Error> {
        let seconds = |name, help| HistogramOpts::new(name, help).buckets(WAKE_SECONDS_BUCKETS.to_vec());
        let wakes = seconds("dormouse_wake_phase_seconds", "Where the time of wakes goes");
        let creations = seconds("dormouse_creation_phase_seconds", "Where the time of creating containers goes");
        let claims = seconds("dormouse_claim_seconds", "How long the spawner takes to make a replica of a blank");
        let forks = seconds("dormouse_fork_seconds", "How long the spawner takes to order a replica of a template");
        let metrics = Series {
            starts: IntCounterVec::new(
                Opts::new("dormouse_starts_total", "Replicas woken, by the rung they were woken from"),
                &["endpoint", "rung", "result"],
            )?,
            wake_phase_seconds: HistogramVec::new(wakes, &["rung", "phase"])?,
            creation_phase_seconds: HistogramVec::new(creations, &["phase"])?,
            claim_seconds: Histogram::with_opts(claims)?,
            fork_seconds: Histogram::with_opts(forks)?,
            memory_budget: IntGauge::new("dormouse_memory_budget_bytes", "What memory limits may sum up to")?,
            memory_used: IntGauge::new("dormouse_memory_used_bytes", "The sum of memory limits of what runs")?,
            slowest_turn: Gauge::new("dormouse_spawner_turn_seconds_max", "The longest turn of the spawner's loop")?,
            blanks: IntGauge::new("dormouse_blanks_ready", "Containers of the pool that wait to be claimed")?,
            preparations: IntCounterVec::new(
                Opts::new("dormouse_preparations_total", "Models that were to be optimised"),
                &["result"],
            )?,
            images_removed: IntCounter::new("dormouse_images_removed_total", "Images that made room on a full disk")?,
            image_bytes_removed: IntCounter::new("dormouse_image_bytes_removed_total", "What those took of the disk")?,
        };
        registry.register(Box::new(EndpointGauges::of(directory)?))?;
        registry.register(Box::new(metrics.starts.clone()))?;
        registry.register(Box::new(metrics.wake_phase_seconds.clone()))?;
        registry.register(Box::new(metrics.creation_phase_seconds.clone()))?;
        registry.register(Box::new(metrics.claim_seconds.clone()))?;
        registry.register(Box::new(metrics.fork_seconds.clone()))?;
        registry.register(Box::new(metrics.memory_budget.clone()))?;
        registry.register(Box::new(metrics.memory_used.clone()))?;
        registry.register(Box::new(metrics.slowest_turn.clone()))?;
        registry.register(Box::new(metrics.blanks.clone()))?;
        registry.register(Box::new(metrics.preparations.clone()))?;
        registry.register(Box::new(metrics.images_removed.clone()))?;
        registry.register(Box::new(metrics.image_bytes_removed.clone()))?;
        Ok(Self(Arc::new(metrics)))
    }

    pub(crate) fn set_memory_budget(&self, budget: Bytes) {
        self.0.memory_budget.set(i64::try_from(budget.get()).unwrap_or(i64::MAX));
    }

    pub(crate) fn memory_used(&self) -> IntGauge {
        self.0.memory_used.clone()
    }

    pub(crate) fn blanks(&self) -> IntGauge {
        self.0.blanks.clone()
    }

    pub(crate) fn gc(&self) -> GcCounters {
        GcCounters { images: self.0.images_removed.clone(), bytes: self.0.image_bytes_removed.clone() }
    }

    pub(crate) fn slowest_turn(&self) -> Gauge {
        self.0.slowest_turn.clone()
    }

    /// A model was to be prepared, and was or was not.
    pub(crate) fn preparation(&self, outcome: Outcome) {
        self.0.preparations.with_label_values(&[outcome.label()]).inc();
    }

    pub(crate) fn container(&self, origin: Origin) {
        let seconds = |micros| Duration::from_micros(micros).as_secs_f64();
        match origin {
            Origin::Created(CreatePhases { fork_us, cgroup_us, container_us, release_us }) => {
                for (phase, micros) in
                    [("fork", fork_us), ("cgroup", cgroup_us), ("container", container_us), ("release", release_us)]
                {
                    self.0.creation_phase_seconds.with_label_values(&[phase]).observe(seconds(micros));
                }
            }
            Origin::Claimed(claim) => self.0.claim_seconds.observe(seconds(claim.claim_us)),
            Origin::Forked(fork) => self.0.fork_seconds.observe(seconds(fork.order_us)),
        }
    }

    /// A wake that gave a replica. The whole of it is counted only where somebody waited for all of it.
    pub(crate) fn wake(&self, wake: &WakeView) {
        let observe = |phase: &str, time: Duration| {
            self.0.wake_phase_seconds.with_label_values(&[wake.rung.name(), phase]).observe(time.as_secs_f64());
        };
        match wake.outcome {
            WakeOutcome::Answered => observe("total", wake.total),
            WakeOutcome::Ready | WakeOutcome::Unanswered => {}
            WakeOutcome::Unused | WakeOutcome::Failed { .. } => return,
        }
        for (phase, time) in &wake.phases {
            observe(phase.name(), *time);
        }
    }

    pub(crate) fn endpoint(&self, name: &EndpointName) -> EndpointMetrics {
        EndpointMetrics { name: name.clone(), all: self.clone() }
    }
}

/// The series of one endpoint.
#[derive(Debug)]
pub(crate) struct EndpointMetrics {
    name: EndpointName,
    all: Metrics,
}

impl EndpointMetrics {
    pub(crate) fn started(&self, rung: Rung, outcome: Outcome) {
        self.all.0.starts.with_label_values(&[self.name.as_str(), rung.name(), outcome.label()]).inc();
    }

    /// The endpoint is gone, and what it counted with it. A series that never was is no error.
    pub(crate) fn remove(&self) {
        let name = self.name.as_str();
        for (rung, outcome) in Rung::ALL.into_iter().flat_map(|rung| Outcome::ALL.map(|outcome| (rung, outcome))) {
            let _ = self.all.0.starts.remove_label_values(&[name, rung.name(), outcome.label()]);
        }
    }
}

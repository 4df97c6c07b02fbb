//! The gauges of endpoints, made of their views whenever somebody asks. Kept, they would be most of the
//! memory that an endpoint at rest takes: each series holds its own copy of its name, its help and its labels.

use std::collections::BTreeMap;

use prometheus::{
    IntGaugeVec, Opts,
    core::{Collector, Desc},
    proto::MetricFamily,
};

use crate::{EndpointView, Phase, TemplateUse, directory::Directory};

const PHASES: [(Phase, &str); 8] = [
    (Phase::Pending, "pending"),
    (Phase::Initializing, "initializing"),
    (Phase::Starting, "starting"),
    (Phase::Ready, "ready"),
    (Phase::Unready, "unready"),
    (Phase::Frozen, "frozen"),
    (Phase::Draining, "draining"),
    (Phase::Exited, "exited"),
];

pub(super) struct EndpointGauges {
    directory: Directory,
    /// Without a value; what is told is made anew each time.
    described: Gauges,
}

struct Gauges {
    queue_waiters: IntGaugeVec,
    replicas: IntGaugeVec,
    templates: IntGaugeVec,
}

impl EndpointGauges {
    pub(super) fn of(directory: Directory) -> Result<Self, prometheus::Error> {
        Ok(Self { directory, described: Gauges::new()? })
    }
}

impl Collector for EndpointGauges {
    fn desc(&self) -> Vec<&Desc> {
        self.described.all().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // They could be made before.
        let Ok(gauges) = Gauges::new() else { return Vec::new() };
        for entry in self.directory.all() {
            // Of what serves nobody yet there is nothing to count.
            if let Some(handle) = entry.served() {
                gauges.show(&handle.view());
            }
        }
        gauges.all().into_iter().flat_map(Collector::collect).collect()
    }
}

impl Gauges {
    fn new() -> Result<Self, prometheus::Error> {
        let by_phase = |name, help| IntGaugeVec::new(Opts::new(name, help), &["endpoint", "phase"]);
        Ok(Self {
            queue_waiters: IntGaugeVec::new(
                Opts::new("dormouse_queue_waiters", "Requests that wait for a replica"),
                &["endpoint"],
            )?,
            replicas: by_phase("dormouse_replicas", "Replicas by phase")?,
            templates: by_phase("dormouse_templates", "Templates that hold memory, by phase")?,
        })
    }

    fn all(&self) -> [&IntGaugeVec; 3] {
        [&self.queue_waiters, &self.replicas, &self.templates]
    }

    fn show(&self, view: &EndpointView) {
        let name = view.endpoint.name.as_str();
        self.queue_waiters.with_label_values(&[name]).set(view.waiters.into());
        show_phases(&self.replicas, name, view.replicas.iter().map(|replica| replica.phase));
        if view.template != TemplateUse::Off || !view.templates.is_empty() {
            show_phases(&self.templates, name, view.templates.iter().map(|template| template.phase));
        }
    }
}

/// Every phase, so that a series does not end where nothing is in it.
fn show_phases(gauges: &IntGaugeVec, name: &str, phases: impl Iterator<Item = Phase>) {
    let mut counts = BTreeMap::<Phase, i64>::new();
    for phase in phases {
        *counts.entry(phase).or_default() += 1;
    }
    for (phase, label) in PHASES {
        gauges.with_label_values(&[name, label]).set(counts.get(&phase).copied().unwrap_or(0));
    }
}

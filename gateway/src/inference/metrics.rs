//! What is counted of inference requests.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use dormouse_spec::EndpointName;
use http::StatusCode;
use prometheus::{
    HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry,
    core::{Collector, MetricVec, MetricVecBuilder},
};

/// The `endpoint` of requests for models that are not there: what clients type must not become
/// labels. No endpoint can have this name.
const UNKNOWN: &str = "-";
/// The `code` of requests whose client went away before there was one to tell.
const CLIENT_GONE: &str = "499";
/// From a warm answer of a small model to the default timeout of a request.
const DURATION_BUCKETS_SECONDS: [f64; 17] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

/// Endpoints with series of which nobody looks for the deleted ones.
const ENDPOINTS_UNSWEPT_MAX: usize = 64;

#[derive(Debug, Clone)]
pub(super) struct Metrics {
    requests: IntCounterVec,
    durations: HistogramVec,
    counted: Arc<Mutex<Counted>>,
}

/// Where nobody reads the metrics, series of endpoints that come and go must not add up.
#[derive(Debug)]
struct Counted {
    endpoints: HashSet<String>,
    /// At more endpoints than this the deleted ones are looked for: twice those there were.
    sweep_beyond: usize,
}

impl Metrics {
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let requests =
            Opts::new("dormouse_requests_total", "Inference requests answered, by endpoint and status code.");
        let durations = HistogramOpts::new(
            "dormouse_request_duration_seconds",
            "Seconds from an inference request's head to the end of its answer, waiting included.",
        );
        let metrics = Self {
            requests: IntCounterVec::new(requests, &["endpoint", "code"])?,
            durations: HistogramVec::new(durations.buckets(DURATION_BUCKETS_SECONDS.to_vec()), &["endpoint"])?,
            counted: Arc::new(Mutex::new(Counted { endpoints: HashSet::new(), sweep_beyond: ENDPOINTS_UNSWEPT_MAX })),
        };
        registry.register(Box::new(metrics.requests.clone()))?;
        registry.register(Box::new(metrics.durations.clone()))?;
        Ok(metrics)
    }

    /// Begins to watch a request. `None` is a model that is not there.
    pub(super) fn watch(&self, endpoint: Option<&EndpointName>) -> Observation {
        let endpoint = endpoint.map_or(UNKNOWN, EndpointName::as_str).to_owned();
        Observation { metrics: self.clone(), endpoint, began: Instant::now(), code: None }
    }

    /// Whether [`Self::keep_only`] is due with the first request of this endpoint.
    pub(super) fn is_sweep_due(&self, endpoint: &EndpointName) -> bool {
        let mut counted = self.counted();
        if counted.endpoints.contains(endpoint.as_str()) {
            return false;
        }
        counted.endpoints.insert(endpoint.to_string());
        counted.endpoints.len() > counted.sweep_beyond
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops the series of endpoints that are gone. A request that outlives its endpoint makes them
    /// anew, so this is done at each look at the metrics and not once.
    pub(super) fn keep_only(&self, exists: impl Fn(&str) -> bool) {
        let gone = |endpoint: &str| endpoint != UNKNOWN && !exists(endpoint);
        remove_series(&self.requests, &["endpoint", "code"], &gone);
        remove_series(&self.durations, &["endpoint"], &gone);
        let mut counted = self.counted();
        counted.endpoints.retain(|endpoint| exists(endpoint));
        counted.sweep_beyond = ENDPOINTS_UNSWEPT_MAX.max(counted.endpoints.len() * 2);
    }
}

fn remove_series<T: MetricVecBuilder>(series: &MetricVec<T>, labels: &[&str], gone: &impl Fn(&str) -> bool) {
    for family in series.collect() {
        for metric in family.get_metric() {
            let value = |name: &str| metric.get_label().iter().find(|label| label.name() == name).map(|l| l.value());
            let Some(values) = labels.iter().map(|name| value(name)).collect::<Option<Vec<_>>>() else { continue };
            if values.first().is_some_and(|endpoint| gone(endpoint)) {
                // It may have been removed meanwhile, which is as well.
                let _ = series.remove_label_values(&values);
            }
        }
    }
}

/// One request being watched; it is counted when this is dropped.
#[derive(Debug)]
pub(super) struct Observation {
    metrics: Metrics,
    endpoint: String,
    began: Instant,
    code: Option<StatusCode>,
}

impl Observation {
    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    pub(super) fn answered(&mut self, code: StatusCode) {
        self.code = Some(code);
    }
}

impl Drop for Observation {
    fn drop(&mut self) {
        let code = self.code.as_ref().map_or(CLIENT_GONE, StatusCode::as_str);
        self.metrics.requests.with_label_values(&[self.endpoint.as_str(), code]).inc();
        self.metrics.durations.with_label_values(&[self.endpoint.as_str()]).observe(self.began.elapsed().as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn text(registry: &Registry) -> String {
        prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap()
    }

    #[test]
    fn requests_are_counted_by_code_and_a_client_that_left_too() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry).unwrap();
        let name = "vad".parse().unwrap();
        let mut answered = metrics.watch(Some(&name));
        answered.answered(StatusCode::OK);
        drop(answered);
        drop(metrics.watch(Some(&name)));
        drop(metrics.watch(None));
        let text = text(&registry);
        assert!(text.contains(r#"dormouse_requests_total{code="200",endpoint="vad"} 1"#), "{text}");
        assert!(text.contains(r#"dormouse_requests_total{code="499",endpoint="vad"} 1"#), "{text}");
        assert!(text.contains(r#"dormouse_requests_total{code="499",endpoint="-"} 1"#), "{text}");
        assert!(text.contains(r#"dormouse_request_duration_seconds_count{endpoint="vad"} 2"#), "{text}");
    }

    #[test]
    fn a_deleted_endpoint_leaves_no_series() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry).unwrap();
        for name in ["kept", "deleted"] {
            drop(metrics.watch(Some(&name.parse().unwrap())));
        }
        drop(metrics.watch(None));
        metrics.keep_only(|endpoint| endpoint == "kept");
        let text = text(&registry);
        assert!(text.contains("kept") && !text.contains("deleted"), "{text}");
        assert!(text.contains(r#"endpoint="-""#), "{text}");
    }

    #[test]
    fn series_that_nobody_reads_do_not_add_up() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry).unwrap();
        let mut most = 0;
        for number in 0..10 * ENDPOINTS_UNSWEPT_MAX {
            let name: EndpointName = format!("e{number}").parse().unwrap();
            if metrics.is_sweep_due(&name) {
                metrics.keep_only(|endpoint| endpoint == name.as_str());
            }
            drop(metrics.watch(Some(&name)));
            most = most.max(metrics.durations.collect()[0].get_metric().len());
        }
        assert!(most <= ENDPOINTS_UNSWEPT_MAX + 1, "{most}");
    }
}

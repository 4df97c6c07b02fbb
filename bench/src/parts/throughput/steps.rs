use serde_json::{Value, json};

use super::server::Server;
use crate::{
    Bench, Failure,
    load::{Outcome, poisson, run},
    models::{Answer, Model},
    process::processor_time,
};

/// The first rate, as a share of what one thread could do if requests came one after another.
const FIRST_SHARE: f64 = 0.1;
const NEXT_FACTOR: f64 = 1.3;
/// Where the first rate is not held, lower ones are tried.
const LOWER_FACTOR: f64 = 0.25;
/// Of the asked rate, so much must be answered in time for a rate to count as held.
const HELD_MIN: f64 = 0.95;
const SEED: u64 = 0xa221;

/// One rate, held for a while.
#[derive(Debug)]
pub(super) struct Step {
    asked: f64,
    pub(super) outcome: Outcome,
    /// Of all processes that have a part in it, for one request.
    pub(super) processor_us: f64,
}

impl Step {
    pub(super) fn holds(&self, bound_ms: f64) -> bool {
        self.outcome.failed == 0
            && self.outcome.percentile_ms(0.99) <= bound_ms
            && self.outcome.rate() >= self.asked * HELD_MIN
    }

    pub(super) fn json(&self) -> Value {
        let ms = |share| self.outcome.percentile_ms(share);
        json!({
            "asked_per_s": self.asked, "answered_per_s": self.outcome.rate(), "n": self.outcome.latencies.len(),
            "p50_ms": ms(0.5), "p90_ms": ms(0.9), "p99_ms": ms(0.99), "p999_ms": ms(0.999), "most_ms": ms(1.0),
            "failed": self.outcome.failed, "why": self.outcome.why, "processor_us": self.processor_us,
        })
    }
}

/// Rate by rate until one is not held twice: once may be what else the machine did. That one is the last of the answer.
pub(super) fn climb(
    bench: &Bench,
    server: &Server,
    model: &Model,
    reference: &Answer,
    alone_ms: f64,
    bound_ms: f64,
) -> Result<Vec<Step>, Failure> {
    let (target, processes) = (server.target(), server.processes()?);
    let hold = |rate: f64, seed: u64| -> Result<Step, Failure> {
        let arrivals = poisson(rate, bench.effort.rate_for, seed);
        let before = processor_time(&processes);
        let outcome = run(&target, model, reference, &arrivals)?;
        let processor_us = (processor_time(&processes) - before) * 1e6 / arrivals.len().max(1) as f64;
        // What a seed drew is what was asked, not what it was drawn from.
        Ok(Step { asked: arrivals.len() as f64 / bench.effort.rate_for.as_secs_f64(), outcome, processor_us })
    };
    let mut steps: Vec<Step> = Vec::new();
    let mut rate = FIRST_SHARE * 1e3 / alone_ms;
    for seed in (SEED..).step_by(2).take(bench.effort.rates_max) {
        let mut step = hold(rate, seed)?;
        if !step.holds(bound_ms) {
            step = hold(rate, seed + 1)?;
        }
        let (is_held, was_one_held) = (step.holds(bound_ms), steps.iter().any(|step| step.holds(bound_ms)));
        steps.push(step);
        match (is_held, was_one_held) {
            (true, _) => rate *= NEXT_FACTOR,
            (false, false) => rate *= LOWER_FACTOR,
            (false, true) => break,
        }
    }
    Ok(steps)
}

//! What becomes of the latency as requests come more often, until it leaves its bound; and what a request costs.
//!
//! Everybody serves one model on one inference thread: Dormouse one replica, the bare worker itself, Triton one
//! instance.

mod alone;
mod server;
mod steps;

use serde_json::json;

use self::{
    alone::Alone,
    server::Server,
    steps::{Step, climb},
};
use crate::{
    Bench, Failure,
    floor::first_answer,
    models::Model,
    report::{Curve, Report, Row, Table, Unit, curves},
    stats::{self, added},
};

/// Those whose request is quick enough for a rate to be of interest.
const MODELS: [&str; 3] = ["tiny_mlp", "silero_vad", "minilm"];
/// p99 from when a request was due may be so many times the floor's own answer, and never needs to be less than this.
const BOUND_FACTOR: f64 = 10.0;
const BOUND_MIN_MS: f64 = 10.0;

/// One server with one model.
#[derive(Debug)]
struct Climbed {
    server: &'static str,
    steps: Result<Vec<Step>, String>,
}

#[derive(Debug)]
struct OfModel {
    alone: Alone,
    bound_ms: f64,
    climbed: Vec<Climbed>,
}

pub(super) fn measure(bench: &Bench) -> Result<Report, Failure> {
    let mut report = Report::default();
    let mut table =
        Table::new(&["model", "server", "rate/s", "p50 ms", "p99 ms", "p99.9 ms", "failed", "CPU µs a request", "n"]);
    let mut models = Vec::new();
    for model in bench.models()?.iter().filter(|model| MODELS.contains(&model.name)) {
        eprintln!("{}: at rising rates …", model.name);
        let OfModel { alone, bound_ms, climbed } = of_model(bench, model)?;
        for climbed in &climbed {
            lines(&mut table, model, climbed);
        }
        report.rows.push(added_alone(model, &alone));
        report.flags.extend(stats::spread(&format!("{}'s bare worker", model.name), &alone.bare));
        report.rows.extend(rows(model, bound_ms, &climbed));
        report.plots.push((model.name.to_owned(), plot(model, bound_ms, &climbed)));
        let servers: Vec<_> = climbed
            .iter()
            .map(|it| match &it.steps {
                Ok(steps) => json!({ "server": it.server, "steps": steps.iter().map(Step::json).collect::<Vec<_>>() }),
                Err(reason) => json!({ "server": it.server, "failed": reason }),
            })
            .collect();
        models.push(json!({
            "model": model.name, "bound_p99_ms": bound_ms, "servers": servers,
            "alone_ms": { "dormouse": alone.dormouse.values(), "bare": alone.bare.values() },
        }));
    }
    report.tables.push(table);
    report.data = json!({ "models": models });
    Ok(report)
}

fn of_model(bench: &Bench, model: &Model) -> Result<OfModel, Failure> {
    let (_, reference) = first_answer(bench, model)?;
    let alone = alone::measure(bench, model)?;
    let alone_ms = alone.bare.median();
    let bound_ms = (alone_ms * BOUND_FACTOR).max(BOUND_MIN_MS);
    let mut climbed = Vec::new();
    for (name, start) in Server::kinds(model) {
        let steps = start(bench, model).and_then(|server| climb(bench, &server, model, &reference, alone_ms, bound_ms));
        climbed.push(Climbed { server: name, steps: steps.map_err(|error| error.to_string()) });
    }
    Ok(OfModel { alone, bound_ms, climbed })
}

/// What the way through the daemon adds to a request that has it for itself.
fn added_alone(model: &Model, alone: &Alone) -> Row {
    let (figure, interval) = added(&alone.dormouse, &alone.bare, 0.5);
    let what = format!("{}: one at a time, Dormouse, added over the bare worker, p50", model.name);
    Row::new(what, Unit::Milliseconds, None, Ok((figure, Some(interval), alone.dormouse.count())))
}

fn lines(table: &mut Table, model: &Model, climbed: &Climbed) {
    let start = [model.name.to_owned(), climbed.server.to_owned()];
    match &climbed.steps {
        Ok(steps) => {
            for step in steps {
                let [model, server] = start.clone();
                let ms = |share| format!("{:.2}", step.outcome.percentile_ms(share));
                table.row([
                    model,
                    server,
                    format!("{:.0}", step.outcome.rate()),
                    ms(0.5),
                    ms(0.99),
                    ms(0.999),
                    step.outcome.failed.to_string(),
                    format!("{:.0}", step.processor_us),
                    step.outcome.latencies.len().to_string(),
                ]);
            }
        }
        Err(reason) => {
            let [model, server] = start;
            let empty = String::new;
            table.row([
                model,
                server,
                format!("FAILED: {reason}"),
                empty(),
                empty(),
                empty(),
                empty(),
                empty(),
                empty(),
            ]);
        }
    }
}

/// The highest rate within the bound, and the processor time of a request at it.
fn rows(model: &Model, bound_ms: f64, climbed: &[Climbed]) -> Vec<Row> {
    let of = |climbed: &Climbed| -> Vec<Row> {
        let best = climbed.steps.as_ref().map_err(Clone::clone).and_then(|steps| {
            let within = steps.iter().rfind(|step| step.holds(bound_ms));
            within.ok_or_else(|| format!("p99 is above {bound_ms:.0} ms at the lowest rate already"))
        });
        let row = |what: &str, unit, figure: fn(&Step) -> f64| {
            let outcome = best.as_ref().map_err(Clone::clone);
            let outcome = outcome.map(|step| (figure(step), None, step.outcome.latencies.len() as usize));
            Row::new(format!("{}: {}, {what}", model.name, climbed.server), unit, None, outcome)
        };
        let is_open = climbed.steps.as_ref().is_ok_and(|steps| steps.last().is_some_and(|step| step.holds(bound_ms)));
        let open = if is_open { ", and no higher one was tried" } else { "" };
        let rate = format!("highest rate with p99 ≤ {bound_ms:.0} ms{open}");
        vec![
            row(&rate, Unit::PerSecond, |step| step.outcome.rate()),
            row("processor time of a request at it", Unit::Microseconds, |step| step.processor_us),
        ]
    };
    climbed.iter().flat_map(of).collect()
}

fn plot(model: &Model, bound_ms: f64, climbed: &[Climbed]) -> String {
    let curve = |climbed: &Climbed, share: f64, name: &str| {
        let steps = climbed.steps.as_ref().map(Vec::as_slice).unwrap_or_default();
        let points = steps.iter().map(|step| (step.outcome.rate(), step.outcome.percentile_ms(share))).collect();
        Curve { label: format!("{}, {name}", climbed.server), points }
    };
    let all: Vec<Curve> = climbed.iter().map(|it| curve(it, 0.99, "p99")).collect();
    let title = format!("{}: p99 from when a request was due; the line is its bound", model.name);
    curves(&title, bound_ms, &all)
}

//! Memory of several replicas of one model, counted so that what they share counts once.

use std::{thread, time::Duration};

use serde_json::{Value, json};

use crate::{
    Bench, Failure,
    daemon::{
        Daemon, EndpointSettings,
        configuration::{WITH_TEMPLATE, WITHOUT_POOL},
    },
    models::Model,
    process::proportional_set,
    report::{Report, Row, Table, Unit},
    stats::{Samples, ratio},
};

const MODEL: &str = "minilm";
const REPLICAS: [u32; 2] = [1, 4];
/// Four replicas with their template ÷ one with its.
const GOAL: f64 = 1.3;
/// Rounds of as many requests at once as there are replicas: each has answered by then.
const REQUEST_ROUNDS: usize = 3;
const MEGABYTE: f64 = 1e6;
const GIBIBYTE: f64 = (1_u32 << 30) as f64;

/// How replicas of it come about, and what the daemon is told for it.
const KINDS: [(&str, &[&str]); 2] =
    [("each loads for itself", &[WITHOUT_POOL]), (FORKED, &[WITHOUT_POOL, WITH_TEMPLATE])];
const FORKED: &str = "forked from a template";

/// PSS of all containers in bytes, for each of the numbers of replicas.
type Sizes = [Samples; 2];

pub(super) fn measure(bench: &Bench) -> Result<Report, Failure> {
    let model = Model::named(&bench.setup, MODEL)?;
    let mut report = Report::default();
    let mut table = Table::new(&["replicas", "PSS of 1", "PSS of 4", "each further one", "replicas per GiB"]);
    let mut data = Vec::new();
    for (kind, configuration) in KINDS {
        eprintln!("{}: {kind} …", model.name);
        let sizes = sizes(bench, &model, configuration).map_err(|error| error.to_string());
        data.push(datum(kind, &sizes));
        if let Ok([one, four]) = &sizes {
            let megabytes = |bytes: f64| Unit::Megabytes.figure(bytes / MEGABYTE);
            let further = further(one, four);
            table.row([
                kind.to_owned(),
                megabytes(one.median()),
                megabytes(four.median()),
                megabytes(further),
                format!("{:.0}", fit(one, four)),
            ]);
        }
        report.rows.extend(rows(kind, kind == FORKED, &sizes));
    }
    report.tables.push(table);
    report.data = json!({ "model": model.name, "model_bytes": model.bytes()?, "kinds": data });
    Ok(report)
}

fn sizes(bench: &Bench, model: &Model, configuration: &[&str]) -> Result<Sizes, Failure> {
    let daemon = Daemon::start(bench, configuration)?;
    let mut sizes = Sizes::default();
    for _ in 0..bench.effort.densities {
        for (replicas, samples) in REPLICAS.into_iter().zip(&mut sizes) {
            samples.append([size(&daemon, model, replicas)?].into_iter().collect());
        }
    }
    Ok(sizes)
}

/// Of so many replicas that have all answered.
fn size(daemon: &Daemon, model: &Model, replicas: u32) -> Result<f64, Failure> {
    let settings = EndpointSettings {
        min_replicas: replicas,
        max_replicas: Some(replicas),
        concurrency: Some(1),
        ..EndpointSettings::resting("10m", "20m")
    };
    daemon.deploy(MODEL, model, &settings)?;
    daemon.until_phases(MODEL, &vec!["ready"; replicas as usize])?;
    for _ in 0..REQUEST_ROUNDS {
        at_once(daemon, model, replicas)?;
    }
    let bytes = proportional_set(&daemon.contained()?)?;
    daemon.admin("DELETE", &format!("/v1/endpoints/{MODEL}"))?;
    Ok(bytes as f64)
}

fn at_once(daemon: &Daemon, model: &Model, requests: u32) -> Result<(), Failure> {
    let answered: Result<(), String> = thread::scope(|scope| {
        let ask = || daemon.first_answer(MODEL, model).map(drop).map_err(|error| error.to_string());
        let threads: Vec<_> = (0..requests).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|_| Err("a client panicked".to_owned())))
    });
    // Leases end just after their answers; the next round is to find all replicas free.
    thread::sleep(Duration::from_millis(50));
    Ok(answered?)
}

fn further(one: &Samples, four: &Samples) -> f64 {
    (four.median() - one.median()) / f64::from(REPLICAS[1] - REPLICAS[0])
}

/// Replicas that fit in a GiB: the first, and then further ones.
fn fit(one: &Samples, four: &Samples) -> f64 {
    (1.0 + (GIBIBYTE - one.median()) / further(one, four).max(1.0)).floor()
}

fn rows(kind: &str, is_promised: bool, sizes: &Result<Sizes, String>) -> Vec<Row> {
    let of = |figure: fn(&Sizes) -> f64| {
        let outcome = sizes.as_ref().map_err(Clone::clone);
        outcome.map(|sizes| (figure(sizes), None, sizes[1].count()))
    };
    let ratio = sizes.as_ref().map_err(Clone::clone).map(|[one, four]| {
        let (figure, interval) = ratio(four, one);
        (figure, Some(interval), four.count())
    });
    let (goal, aim) = if is_promised { (Some(GOAL), " (aim 1.1)") } else { (None, "") };
    vec![
        Row::new(format!("{MODEL}: PSS of 4 replicas ÷ 1, {kind}{aim}"), Unit::Ratio, goal, ratio),
        Row::new(format!("{MODEL}: replicas per GiB, {kind}"), Unit::Replicas, None, of(|[one, four]| fit(one, four))),
    ]
}

fn datum(kind: &str, sizes: &Result<Sizes, String>) -> Value {
    match sizes {
        Ok([one, four]) => json!({ "kind": kind, "pss_of_1_bytes": one.values(), "pss_of_4_bytes": four.values() }),
        Err(reason) => json!({ "kind": kind, "failed": reason }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_counts_the_first_one_as_it_is() {
        let of = |mebibytes: f64| -> Samples { [mebibytes * f64::from(1 << 20)].into_iter().collect() };
        assert_eq!(fit(&of(124.0), &of(424.0)), 10.0);
        assert_eq!(fit(&of(124.0), &of(124.0)), 1.0 + (900.0 * f64::from(1 << 20)));
    }
}

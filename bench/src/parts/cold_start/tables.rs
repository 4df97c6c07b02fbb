//! Times, as they are: they belong to this machine.

use super::{sandbox::Sandboxes, wakes::ModelWakes};
use crate::{
    report::{Table, Unit},
    stats::Samples,
};

pub(super) fn wakes(all: &[ModelWakes]) -> Table {
    let mut table = Table::new(&["model", "from", "p50", "p99", "least", "n"]);
    for wakes in all {
        for (rung, rested) in &wakes.rungs {
            match rested {
                Ok(rested) => line(&mut table, wakes.model, rung.name, &rested.idle),
                Err(reason) => failed(&mut table, wakes.model, rung.name, reason),
            }
        }
        line(&mut table, wakes.model, "bare process, original model", &wakes.floor);
        match &wakes.triton {
            Some(Ok(triton)) => line(&mut table, wakes.model, "Triton, tuned", triton),
            Some(Err(reason)) => failed(&mut table, wakes.model, "Triton, tuned", reason),
            None => {}
        }
        line(&mut table, wakes.model, "warm", &wakes.warm());
    }
    table
}

/// While others were deleted and a pool refilled.
pub(super) fn churned(all: &[ModelWakes]) -> Table {
    let mut table = Table::new(&["model", "from, under churn", "p50", "most", "deletes in flight at the answer", "n"]);
    for wakes in all {
        for (rung, rested) in wakes.rungs.iter().filter(|(rung, _)| rung.told.is_some()) {
            let Ok(rested) = rested else { continue };
            if let Err(reason) = rested.under_churn() {
                failed(&mut table, wakes.model, rung.name, &reason);
                continue;
            }
            let time = |share| Unit::Milliseconds.figure(rested.churned.percentile(share));
            let (in_flight, count) = (rested.in_flight.median(), rested.churned.count());
            table.row([
                wakes.model.to_owned(),
                rung.name.to_owned(),
                time(0.5),
                time(1.0),
                format!("{in_flight:.0}"),
                count.to_string(),
            ]);
        }
    }
    table
}

/// From the request to the first instruction inside.
pub(super) fn sandboxes(sandboxes: &Result<Sandboxes, String>) -> Table {
    let mut table = Table::new(&["a sandbox", "", "p50", "p99", "least", "n"]);
    match sandboxes {
        Ok(sandboxes) => {
            line(&mut table, "Dormouse", "created without pool", &sandboxes.ours);
            line(&mut table, "runc", &sandboxes.version, &sandboxes.runc);
        }
        Err(reason) => failed(&mut table, "Dormouse and runc", "", reason),
    }
    table
}

fn line(table: &mut Table, model: &str, from: &str, samples: &Samples) {
    let time = |share| Unit::Milliseconds.figure(samples.percentile(share));
    let count = samples.count().to_string();
    table.row([model.to_owned(), from.to_owned(), time(0.5), time(0.99), time(0.0), count]);
}

fn failed(table: &mut Table, model: &str, from: &str, reason: &str) {
    let reason = format!("FAILED: {reason}");
    table.row([model.to_owned(), from.to_owned(), reason, String::new(), String::new(), String::new()]);
}

//! From nothing, or from a rung of the ladder, to the first correct answer.
//!
//! Every sample is preceded by an idle second and taken in turns with the others of its model: caches cool, and the
//! kernel's slow path for moving processes between v1 groups comes back after 200 ms. An idle machine is what a wake
//! meets. Then the same again while the pool refills and deletes are in flight.

mod churn;
mod goals;
mod rung;
mod sandbox;
mod stand;
mod tables;
mod wakes;

use std::collections::BTreeSet;

use serde_json::json;

use self::wakes::{ModelWakes, of_model};
use crate::{
    Bench, Failure,
    report::{Report, Strip, strips},
    stats,
};

pub(super) fn measure(bench: &Bench) -> Result<Report, Failure> {
    let mut measured = Vec::new();
    for model in bench.models()? {
        eprintln!("{}: {} times each rung, the bare process and what else there is …", model.name, bench.effort.wakes);
        measured.push(of_model(bench, &model)?);
    }
    eprintln!("sandboxes: {} times here and with runc …", bench.effort.sandboxes);
    let sandboxes = sandbox::measure(bench);
    let mut report = Report {
        tables: vec![tables::wakes(&measured), tables::churned(&measured), tables::sandboxes(&sandboxes)],
        ..Report::default()
    };
    for wakes in &measured {
        report.rows.extend(goals::of_model(wakes));
        report.plots.push((wakes.model.to_owned(), plot(wakes)));
        let floor = format!("{}'s bare process", wakes.model);
        report.flags.extend(stats::spread(&floor, &wakes.floor));
        report.flags.extend(stats::drift(&floor, &wakes.floor));
    }
    report.flags.extend(unverified(&measured));
    report.rows.extend(goals::claim(&measured));
    report.rows.push(goals::sandbox(&sandboxes));
    if let Ok(sandboxes) = &sandboxes {
        report.flags.extend(stats::spread("runc", &sandboxes.runc));
        report.flags.extend(stats::drift("runc", &sandboxes.runc));
    }
    let sandboxes = match &sandboxes {
        Ok(it) => json!({ "ours_ms": it.ours.values(), "runc_ms": it.runc.values(), "runc": it.version }),
        Err(reason) => json!({ "failed": reason }),
    };
    report.data =
        json!({ "models": measured.iter().map(ModelWakes::json).collect::<Vec<_>>(), "sandboxes": sandboxes });
    Ok(report)
}

/// Rungs that were asked for and of whose wakes the daemon does not say where they came from.
fn unverified(measured: &[ModelWakes]) -> BTreeSet<String> {
    let rungs = measured.iter().flat_map(|wakes| &wakes.rungs);
    let untold = rungs.filter_map(|(rung, rested)| Some((rung.name, rested.as_ref().ok()?.untold.as_ref()?)));
    untold.map(|(rung, reason)| format!("{rung}: where its wakes came from is not known: {reason}")).collect()
}

fn plot(wakes: &ModelWakes) -> String {
    let mut all = Vec::new();
    let warm = wakes.warm();
    for (rung, rested) in &wakes.rungs {
        let rested = rested.as_ref().ok();
        let strip = |label: String, samples| Strip { label, samples, is_floor: false };
        all.push(strip(rung.name.to_owned(), rested.map(|rested| &rested.idle)));
        all.push(strip(format!("{}, under churn", rung.name), rested.map(|rested| &rested.churned)));
    }
    all.push(Strip { label: "bare process, original model".to_owned(), samples: Some(&wakes.floor), is_floor: true });
    if let Some(triton) = &wakes.triton {
        all.push(Strip { label: "Triton, tuned".to_owned(), samples: triton.as_ref().ok(), is_floor: true });
    }
    all.push(Strip { label: "warm".to_owned(), samples: Some(&warm), is_floor: false });
    strips(&format!("{}: from rest to the first correct answer", wakes.model), &all)
}

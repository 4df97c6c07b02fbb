//! The rows that waking is judged by.

use super::{
    rung::{AWAKE, CLAIMED, CREATED, FROZEN, RUNGS, Rung, TEMPLATE},
    sandbox::Sandboxes,
    wakes::ModelWakes,
};
use crate::{
    report::{Row, Unit},
    stats::{Interval, Samples, added, interval, ratio},
};

/// First answer of a claimed worker ÷ bare process with the original model.
const CLAIMED_GOALS: [(&str, f64); 4] = [("silero_vad", 0.35), ("magika", 0.6), ("minilm", 0.5), ("resnet50", 0.3)];
const TRITON_GOAL: f64 = 0.1;
/// Added over warm, in ms: p50 and p99.
const FROZEN_GOALS: [(&str, f64, f64); 2] = [("p50", 0.5, 1.0), ("p99", 0.99, 3.0)];
/// Added over warm, in ms, p50.
const TEMPLATE_GOALS: [(&str, f64); 3] = [("silero_vad", 3.0), ("magika", 6.0), ("minilm", 10.0)];
/// The same of the large model, in shares of its warm answer.
const TEMPLATE_RESNET_GOAL: f64 = 0.5;
const CLAIM_GOALS: [(&str, f64, f64); 2] = [("p50", 0.5, 1.0), ("p99", 0.99, 3.0)];
const SANDBOX_GOAL: f64 = 0.35;

type Figure = Result<(f64, Option<Interval>, usize), String>;

fn figure((figure, interval): (f64, Interval), samples: &Samples) -> (f64, Option<Interval>, usize) {
    (figure, Some(interval), samples.count())
}

fn goal_of(goals: &[(&str, f64)], model: &str) -> Option<f64> {
    goals.iter().find(|(name, _)| *name == model).map(|(_, goal)| *goal)
}

pub(super) fn of_model(wakes: &ModelWakes) -> Vec<Row> {
    let model = wakes.model;
    let idle = |rung| wakes.of(rung).map(|rested| &rested.idle);
    let over_floor = |rung| -> Figure { idle(rung).map(|ours| figure(ratio(ours, &wakes.floor), ours)) };
    let over_warm = |rung, share| -> Figure {
        wakes.of(rung).map(|rested| figure(added(&rested.idle, &rested.warm, share), &rested.idle))
    };
    let mut rows = vec![
        Row::new(
            format!("{model}: zero, claimed ÷ bare process"),
            Unit::Ratio,
            goal_of(&CLAIMED_GOALS, model),
            over_floor(&CLAIMED),
        ),
        Row::new(format!("{model}: zero, created ÷ bare process"), Unit::Ratio, None, over_floor(&CREATED)),
    ];
    if let Some(triton) = &wakes.triton {
        let outcome = triton.as_ref().map_err(Clone::clone).and_then(|triton| {
            let ours = idle(&CLAIMED)?;
            Ok(figure(ratio(ours, triton), ours))
        });
        rows.push(Row::new(
            format!("{model}: zero, claimed ÷ Triton tuned (aim 0.05)"),
            Unit::Ratio,
            Some(TRITON_GOAL),
            outcome,
        ));
    }
    for (name, share, goal) in FROZEN_GOALS {
        let what = format!("{model}: frozen, added over warm, {name}");
        rows.push(Row::new(what, Unit::Milliseconds, Some(goal), over_warm(&FROZEN, share)));
    }
    for (name, share, _) in FROZEN_GOALS {
        let what = format!("{model}: awake and idle for as long, added over warm, {name}");
        rows.push(Row::new(what, Unit::Milliseconds, None, over_warm(&AWAKE, share)));
    }
    let what = format!("{model}: template, added over warm, p50");
    let template = over_warm(&TEMPLATE, 0.5);
    if model == "resnet50" {
        let warm = wakes.of(&TEMPLATE).map_or(f64::NAN, |rested| rested.warm.median());
        let shares = |(figure, interval, count): (f64, Option<Interval>, usize)| {
            let interval = interval.map(|it| Interval { low: it.low / warm, high: it.high / warm });
            (figure / warm, interval, count)
        };
        let what = format!("{what}, ÷ warm");
        rows.push(Row::new(what, Unit::Ratio, Some(TEMPLATE_RESNET_GOAL), template.map(shares)));
    } else {
        rows.push(Row::new(what, Unit::Milliseconds, goal_of(&TEMPLATE_GOALS, model), template));
    }
    rows.extend(RUNGS.into_iter().filter(|rung| rung.told.is_some()).map(|rung| under_churn(wakes, rung)));
    rows
}

/// The figure that the rung is judged by, taken again. What it is compared with had the machine for itself.
fn under_churn(wakes: &ModelWakes, rung: &Rung) -> Row {
    let taken = wakes.of(rung).and_then(|rested| Ok((rested, rested.under_churn()?)));
    let what = |compared| format!("{}: {}, under churn{compared}, p50", wakes.model, rung.name);
    if *rung == CREATED || *rung == CLAIMED {
        let outcome = taken.map(|(_, churned)| figure(ratio(churned, &wakes.floor), churned));
        return Row::new(what(" ÷ bare process"), Unit::Ratio, None, outcome);
    }
    let outcome = taken.map(|(rested, churned)| figure(added(churned, &rested.warm, 0.5), churned));
    Row::new(what(", added over warm"), Unit::Milliseconds, None, outcome)
}

/// Of a blank worker, as the spawner itself counts it, over all models.
pub(super) fn claim(all: &[ModelWakes]) -> Vec<Row> {
    let mut claims = Ok((Samples::default(), Samples::default()));
    for wakes in all {
        claims = claims.and_then(|(mut idle, mut churned): (Samples, Samples)| {
            let rested = wakes.of(&CLAIMED)?;
            match &rested.untold {
                Some(reason) => Err(reason.clone()),
                None => {
                    idle.append(rested.spawner.clone());
                    churned.append(rested.spawner_churned.clone());
                    Ok((idle, churned))
                }
            }
        });
    }
    let told = |samples: &Samples, share| match samples.count() {
        0 => Err("the daemon told no claim".to_owned()),
        _ => Ok(figure(interval(samples, share), samples)),
    };
    let rows = CLAIM_GOALS.map(|(name, share, goal)| {
        let of = |which: fn(&(Samples, Samples)) -> &Samples| {
            claims.as_ref().map_err(Clone::clone).and_then(|claims| told(which(claims), share))
        };
        let row = |what: &str, outcome| {
            Row::new(format!("claim of a blank worker, {what}{name}"), Unit::Milliseconds, Some(goal), outcome)
        };
        [row("", of(|(idle, _)| idle)), row("under churn, ", of(|(_, churned)| churned))]
    });
    rows.into_iter().flatten().collect()
}

pub(super) fn sandbox(sandboxes: &Result<Sandboxes, String>) -> Row {
    let what = "a sandbox, created without pool ÷ runc, same bundle";
    let outcome = sandboxes.as_ref().map_err(Clone::clone);
    Row::new(what, Unit::Ratio, Some(SANDBOX_GOAL), outcome.map(|it| figure(ratio(&it.ours, &it.runc), &it.ours)))
}

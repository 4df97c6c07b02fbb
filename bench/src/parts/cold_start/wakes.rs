use std::time::Instant;

use serde_json::{Value, json};

use super::{
    churn::Churn,
    rung::{RUNGS, Rung},
    stand::{Rested, Stand},
};
use crate::{
    Bench, Failure,
    daemon::Wake,
    floor::first_answer,
    models::{Answer, Model},
    parts::rest::idle,
    peers::triton::{self, Triton},
    stats::Samples,
};

/// Everything that was measured of one model.
#[derive(Debug)]
pub(super) struct ModelWakes {
    pub(super) model: &'static str,
    /// Why not, where a rung could not be measured.
    pub(super) rungs: Vec<(&'static Rung, Result<Rested, String>)>,
    pub(super) floor: Samples,
    /// Of the one model that it is measured with.
    pub(super) triton: Option<Result<Samples, String>>,
}

pub(super) fn of_model(bench: &Bench, model: &Model) -> Result<ModelWakes, Failure> {
    let (_, reference) = first_answer(bench, model)?;
    let mut lanes: Vec<Lane> = RUNGS.iter().map(|rung| Lane::begin(bench, rung, model, &reference)).collect();
    let mut triton = (model.name == triton::MODEL).then(|| TritonLane::begin(bench, model));
    let mut floor = Samples::default();
    for _ in 0..bench.effort.wakes {
        for lane in &mut lanes {
            lane.sample(|stand, rested| {
                stand.rest()?;
                idle();
                let asked = Instant::now();
                rested.idle.push(stand.wake(model, &reference)?);
                note(&mut rested.spawner, &mut rested.untold, stand.told(asked)?);
                // The second one meets what the first left in caches, the third is as any other.
                stand.wake(model, &reference)?;
                rested.warm.push(stand.wake(model, &reference)?);
                Ok(())
            });
        }
        idle();
        let (took, answer) = first_answer(bench, model)?;
        answer.check(&reference)?;
        floor.push(took);
        if let Some(lane) = &mut triton {
            lane.sample(model, &reference);
        }
    }
    eprintln!("{}: {} times each rung beside {} deletes …", model.name, bench.effort.churned, bench.effort.deletes);
    for _ in 0..bench.effort.churned {
        for lane in lanes.iter_mut().filter(|lane| lane.rung.told.is_some()) {
            lane.sample(|stand, rested| {
                if rested.churn_failed.is_none() {
                    let sampled = under_churn(bench, stand, rested, model, &reference);
                    rested.churn_failed = sampled.err().map(|error| error.to_string());
                }
                Ok(())
            });
        }
    }
    Ok(ModelWakes {
        model: model.name,
        rungs: lanes.into_iter().map(Lane::finish).collect(),
        floor,
        triton: triton.map(TritonLane::finish),
    })
}

fn under_churn(
    bench: &Bench,
    stand: &Stand,
    rested: &mut Rested,
    model: &Model,
    reference: &Answer,
) -> Result<(), Failure> {
    let churn = Churn::prepare(bench, &stand.daemon)?;
    stand.rest()?;
    let asked = Instant::now();
    let (took, in_flight) = churn.during(|| stand.wake(model, reference))?;
    rested.churned.push(took);
    rested.in_flight.append([in_flight as f64].into_iter().collect());
    note(&mut rested.spawner_churned, &mut rested.untold, stand.told(asked)?);
    Ok(())
}

fn note(spawner: &mut Samples, untold: &mut Option<String>, told: Option<Result<Wake, String>>) {
    match told.map(|told| told.map(|wake| wake.spawner_ms)) {
        Some(Ok(Some(milliseconds))) => spawner.append([milliseconds].into_iter().collect()),
        Some(Ok(None)) | None => {}
        Some(Err(reason)) => *untold = Some(reason),
    }
}

/// One rung of one model, up to its first failure.
struct Lane {
    rung: &'static Rung,
    state: Result<(Stand, Rested), String>,
}

impl Lane {
    fn begin(bench: &Bench, rung: &'static Rung, model: &Model, reference: &Answer) -> Self {
        let stand = Stand::build(bench, rung, model, reference);
        Self { rung, state: stand.map(|stand| (stand, Rested::default())).map_err(|error| error.to_string()) }
    }

    fn sample(&mut self, take: impl FnOnce(&Stand, &mut Rested) -> Result<(), Failure>) {
        if let Ok((stand, rested)) = &mut self.state
            && let Err(error) = take(stand, rested)
        {
            self.state = Err(error.to_string());
        }
    }

    fn finish(self) -> (&'static Rung, Result<Rested, String>) {
        (self.rung, self.state.map(|(_, rested)| rested))
    }
}

struct TritonLane(Result<(Triton, Samples), String>);

impl TritonLane {
    fn begin(bench: &Bench, model: &Model) -> Self {
        let found = Triton::find(bench, model).and_then(|triton| {
            // As with ours: what is done once per machine is done, and its pages are in memory.
            triton.first_answer(model)?;
            Ok(triton)
        });
        Self(found.map(|triton| (triton, Samples::default())).map_err(|error| error.to_string()))
    }

    fn sample(&mut self, model: &Model, reference: &Answer) {
        if let Ok((triton, samples)) = &mut self.0 {
            idle();
            let answered = triton.first_answer(model).and_then(|(took, answer, server)| {
                drop(server);
                answer.check(reference)?;
                Ok(took)
            });
            match answered {
                Ok(took) => samples.push(took),
                Err(error) => self.0 = Err(error.to_string()),
            }
        }
    }

    fn finish(self) -> Result<Samples, String> {
        self.0.map(|(_, samples)| samples)
    }
}

impl ModelWakes {
    pub(super) fn of(&self, rung: &Rung) -> Result<&Rested, String> {
        let found = self.rungs.iter().find(|(other, _)| *other == rung);
        let (_, rested) = found.ok_or_else(|| format!("{} was not measured", rung.name))?;
        rested.as_ref().map_err(Clone::clone)
    }

    /// Of every rung.
    pub(super) fn warm(&self) -> Samples {
        let mut all = Samples::default();
        self.rungs.iter().filter_map(|(_, rested)| rested.as_ref().ok()).for_each(|it| all.append(it.warm.clone()));
        all
    }

    pub(super) fn json(&self) -> Value {
        let rung = |(rung, rested): &(&Rung, Result<Rested, String>)| match rested {
            Ok(rested) => json!({
                "rung": rung.name, "idle_ms": rested.idle.values(), "warm_ms": rested.warm.values(),
                "churned_ms": rested.churned.values(), "churn_failed": rested.churn_failed,
                "spawner_ms": rested.spawner.values(), "spawner_churned_ms": rested.spawner_churned.values(),
                "spawner_untold": rested.untold, "deletes_in_flight_at_the_answer": rested.in_flight.values(),
            }),
            Err(reason) => json!({ "rung": rung.name, "failed": reason }),
        };
        let triton = self.triton.as_ref().map(|triton| match triton {
            Ok(samples) => json!({ "ms": samples.values() }),
            Err(reason) => json!({ "failed": reason }),
        });
        json!({
            "model": self.model, "rungs": self.rungs.iter().map(rung).collect::<Vec<_>>(), "triton": triton,
            "bare_process_ms": self.floor.values(),
        })
    }
}

//! Measures what waking costs, side by side with the floor: the same worker in a bare process. And
//! what a neighbour notices of a replica that takes all it can get ([`neighbours`]).
//!
//! Absolute times belong to one machine on one day. What is claimed are ratios and differences of
//! samples that were taken in turns, in one run.

mod daemon;
mod floor;
mod http;
mod model;
mod neighbours;
mod report;
mod samples;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use daemon::Daemon;
use floor::BareWorker;
use model::Model;
use report::{Report, Row};
use samples::Samples;

type Failure = Box<dyn std::error::Error>;

/// Wakes from zero, and bare starts, per model.
const COLD_SAMPLES: usize = 12;
/// Wakes from frozen, and the warm requests before them, per model.
const FROZEN_SAMPLES: usize = 20;
/// Warm requests per model, through the gateway and around it.
const WARM_SAMPLES: usize = 300;
/// Before every wake, since an idle machine is what a wake meets: caches cool, and the kernel's
/// slow path for moving processes between v1 groups comes back after 200 ms.
const IDLE_BEFORE_WAKE: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let measured = match std::env::args().nth(1).as_deref() {
        None => wakes(),
        Some("neighbours") => neighbours::run(&workspace(), &std::env::args().nth(2).unwrap_or_default()),
        Some(other) => Err(format!("there is no bench `{other}`: `neighbours`, or none for the wakes").into()),
    };
    match measured {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dormouse-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn workspace() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn wakes() -> Result<(), Failure> {
    let workspace = workspace();
    let program = workspace.join("target/release/dormouse");
    let setup = workspace.join("target/setup");
    let onnxruntime = setup.join("onnxruntime/libonnxruntime.so");
    let mut report = Report::default();
    for model in Model::all(&setup.join("models")) {
        eprintln!("{}: waking, {COLD_SAMPLES} times from zero …", model.name);
        let daemon = Daemon::start(&program, &onnxruntime, &model)?;
        report.add(from_zero(&daemon, &program, &onnxruntime, &model)?);
        eprintln!("{}: thawing, {FROZEN_SAMPLES} times …", model.name);
        report.add(from_frozen(&daemon, &model)?);
        eprintln!("{}: warm, {WARM_SAMPLES} times …", model.name);
        report.add(warm(&daemon, &program, &onnxruntime, &model)?);
    }
    report.print();
    report.write(&workspace.join("target/bench.json"))
}

/// Zero → first answer, beside exec → first answer of the bare worker.
fn from_zero(
    daemon: &Daemon,
    program: &std::path::Path,
    onnxruntime: &std::path::Path,
    model: &Model,
) -> Result<Row, Failure> {
    let (mut ours, mut floor) = (Samples::default(), Samples::default());
    for _ in 0..COLD_SAMPLES {
        daemon.until_zero(model::SLEEPS_SOON)?;
        std::thread::sleep(IDLE_BEFORE_WAKE);
        ours.time(|| daemon.infer(model::SLEEPS_SOON, model))?;
        std::thread::sleep(IDLE_BEFORE_WAKE);
        floor.time(|| BareWorker::start(program, onnxruntime, model)?.infer(model))?;
    }
    Ok(Row::ratio(model.name, "zero → answer", "÷ bare process → answer", &ours, &floor))
}

/// Frozen → answer, beside a warm answer of the same replica.
fn from_frozen(daemon: &Daemon, model: &Model) -> Result<Row, Failure> {
    let (mut frozen, mut warm) = (Samples::default(), Samples::default());
    for _ in 0..FROZEN_SAMPLES {
        daemon.infer(model::FREEZES_SOON, model)?;
        warm.time(|| daemon.infer(model::FREEZES_SOON, model))?;
        daemon.until_frozen(model::FREEZES_SOON)?;
        std::thread::sleep(IDLE_BEFORE_WAKE);
        frozen.time(|| daemon.infer(model::FREEZES_SOON, model))?;
    }
    Ok(Row::added(model.name, "frozen → answer", "added over warm", &frozen, &warm))
}

/// A warm answer through the gateway, beside the same worker asked directly.
fn warm(
    daemon: &Daemon,
    program: &std::path::Path,
    onnxruntime: &std::path::Path,
    model: &Model,
) -> Result<Row, Failure> {
    let bare = BareWorker::start(program, onnxruntime, model)?;
    let (mut ours, mut floor) = (Samples::default(), Samples::default());
    let mut through = daemon.connect()?;
    let mut around = bare.connect()?;
    for _ in 0..WARM_SAMPLES {
        ours.time(|| Ok(through.infer(model::FREEZES_SOON, model)?))?;
        floor.time(|| Ok(around.infer(model.name, model)?))?;
    }
    Ok(Row::added(model.name, "warm, through the gateway", "added over asking the worker", &ours, &floor))
}

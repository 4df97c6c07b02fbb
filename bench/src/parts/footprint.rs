//! What a node costs that serves nobody: memory, wake-ups, and how the control plane grows with the endpoints.

mod idle;

use std::time::Instant;

use serde_json::{Value, json};

use self::idle::{Idle, of_containerd, of_daemon};
use crate::{
    Bench, Failure,
    daemon::{Daemon, EndpointSettings, configuration::DEFAULT},
    models::Model,
    process::proportional_set,
    report::{Report, Row, Table, Unit},
    stats::{Samples, interval},
};

/// Endpoints of the smaller node.
const FEW: usize = 100;
/// Manifests of one `deploy -f`.
const BATCH: usize = 50;
const MEMORY_GOAL_MB: f64 = 15.0;
const WAKE_UPS_GOAL: f64 = 0.0;
const LISTING_GOAL_MS: f64 = 50.0;
const DEPLOY_GOAL_MS: f64 = 50.0;
const GROWTH_GOAL_KB: f64 = 10.0;

/// The larger node.
#[derive(Debug)]
struct Many {
    growth_bytes: f64,
    listings: Samples,
    deploys: Samples,
}

pub(super) fn measure(bench: &Bench) -> Result<Report, Failure> {
    let model = Model::named(&bench.setup, "tiny_mlp")?;
    let daemon = Daemon::start(bench, &[DEFAULT])?;
    let settings = EndpointSettings::resting("100ms", "200ms");
    eprintln!("deploying {FEW} endpoints …");
    deploy(&daemon, &model, &settings, 0..FEW)?;
    eprintln!("counting wake-ups over {:?} …", bench.effort.idle);
    let few = of_daemon(&daemon, bench.effort.idle).map_err(|error| error.to_string());
    let containerd = of_containerd(bench.effort.idle).map_err(|error| error.to_string());
    eprintln!("deploying {} endpoints …", bench.effort.endpoints);
    let many = many(bench, &daemon, &model, &settings).map_err(|error| error.to_string());
    let binary = std::fs::metadata(&bench.program)?.len();
    let mut report = Report { tables: vec![table(&few, &containerd, binary)], ..Report::default() };
    report.rows = rows(bench.effort.endpoints, &few, &many);
    report.data = json!({
        "endpoints": [FEW, bench.effort.endpoints], "dormouse": datum(&few), "containerd": datum(&containerd),
        "binary_bytes": binary,
        "many": match &many {
            Ok(many) => json!({
                "growth_bytes_per_endpoint": many.growth_bytes, "ls_ms": many.listings.values(),
                "deploy_ms": many.deploys.values(),
            }),
            Err(reason) => json!({ "failed": reason }),
        },
    });
    Ok(report)
}

fn deploy(
    daemon: &Daemon,
    model: &Model,
    settings: &EndpointSettings,
    numbers: std::ops::Range<usize>,
) -> Result<(), Failure> {
    let names: Vec<String> = numbers.map(|number| format!("idle-{number}")).collect();
    for names in names.chunks(BATCH) {
        let manifests = names.iter().map(|name| settings.manifest(name, model)).collect::<Result<Vec<_>, _>>()?;
        daemon.deploy_manifest("batch", &manifests.join("---\n"))?;
    }
    Ok(())
}

fn many(bench: &Bench, daemon: &Daemon, model: &Model, settings: &EndpointSettings) -> Result<Many, Failure> {
    let memory = || -> Result<f64, Failure> { Ok(proportional_set(&daemon.halves()?)? as f64) };
    let before = memory()?;
    deploy(daemon, model, settings, FEW..bench.effort.endpoints)?;
    let growth_bytes = (memory()? - before) / (bench.effort.endpoints - FEW) as f64;
    let (mut listings, mut deploys) = (Samples::default(), Samples::default());
    for _ in 0..bench.effort.listings {
        listings.push(timed(|| daemon.cli(&["ls"]).map(drop))?);
        // The model is stored, and prepared where that is done: what is left is this endpoint's own.
        deploys.push(timed(|| daemon.deploy("one-more", model, settings))?);
        daemon.admin("DELETE", "/v1/endpoints/one-more")?;
    }
    Ok(Many { growth_bytes, listings, deploys })
}

/// As a person waits for it, the command's own start included.
fn timed(work: impl FnOnce() -> Result<(), Failure>) -> Result<std::time::Duration, Failure> {
    let begun = Instant::now();
    work()?;
    Ok(begun.elapsed())
}

fn table(few: &Result<Idle, String>, containerd: &Result<Idle, String>, binary: u64) -> Table {
    let mut table = Table::new(&["idle", "PSS", "wake-ups/s", "over", "processes and threads"]);
    let mut line = |what: String, idle: &Result<Idle, String>| {
        let cells = match idle {
            Ok(idle) => [
                what,
                Unit::Megabytes.figure(idle.megabytes()),
                format!("{:.2}", idle.wake_ups_per_second()),
                format!("{:?}", idle.span),
                idle.threads.to_string(),
            ],
            Err(reason) => [what, format!("FAILED: {reason}"), String::new(), String::new(), String::new()],
        };
        table.row(cells);
    };
    let binary = binary as f64 / 1e6;
    line(format!("Dormouse, {FEW} endpoints at zero (binary {binary:.1} MB)"), few);
    let version = containerd.as_ref().map_or_else(|_| "containerd".to_owned(), |idle| idle.version.clone());
    line(format!("{version}, no container"), containerd);
    table
}

fn rows(endpoints: usize, few: &Result<Idle, String>, many: &Result<Many, String>) -> Vec<Row> {
    let of_few = |figure: fn(&Idle) -> f64| few.as_ref().map_err(Clone::clone).map(|idle| (figure(idle), None, 1));
    let of_many = |samples: fn(&Many) -> &Samples| {
        many.as_ref().map_err(Clone::clone).map(|many| {
            let samples = samples(many);
            let (figure, interval) = interval(samples, 0.5);
            (figure, Some(interval), samples.count())
        })
    };
    let growth = many.as_ref().map_err(Clone::clone).map(|many| (many.growth_bytes / 1e3, None, endpoints - FEW));
    let few_what = format!("idle, {FEW} endpoints at zero");
    let many_what = format!("{endpoints} endpoints at zero");
    vec![
        Row::new(
            format!("{few_what}: PSS of spawner and node"),
            Unit::Megabytes,
            Some(MEMORY_GOAL_MB),
            of_few(Idle::megabytes),
        ),
        Row::new(
            format!("{few_what}: wake-ups"),
            Unit::PerSecond,
            Some(WAKE_UPS_GOAL),
            of_few(Idle::wake_ups_per_second),
        ),
        Row::new(
            format!("{many_what}: ls, p50"),
            Unit::Milliseconds,
            Some(LISTING_GOAL_MS),
            of_many(|it| &it.listings),
        ),
        Row::new(
            format!("{many_what}: deploy of a model that is there, p50"),
            Unit::Milliseconds,
            Some(DEPLOY_GOAL_MS),
            of_many(|it| &it.deploys),
        ),
        Row::new(format!("{many_what}: PSS of one more"), Unit::Kilobytes, Some(GROWTH_GOAL_KB), growth),
    ]
}

fn datum(idle: &Result<Idle, String>) -> Value {
    match idle {
        Ok(idle) => idle.json(),
        Err(reason) => json!({ "failed": reason }),
    }
}

//! What a neighbour notices of a replica that takes all it can get.
//!
//! One endpoint serves a real model at a modest, fixed rate. It is measured alone and beside each kind
//! of bomb in turns, several times over, so that what else the machine does meets both alike. Requests
//! are due at fixed times, and an answer's time is counted from when its request was due: one that
//! waits behind a late one is late as well.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use dormouse_tests::{
    Connection as TestConnection, Daemon, Endpoint, Home, Script,
    script::{Bomb, Flood, Infer},
};
use serde_json::{Value, json};

use crate::{Failure, http::Connection, model::Model, samples::Samples};

/// How often each kind is measured, alone and beside.
const ROUNDS: usize = 5;
/// Requests of one measurement, and between two of them.
const REQUESTS: usize = 400;
const REQUEST_EVERY: Duration = Duration::from_millis(10);
/// So many requests may be under way; more than that are late, and counted so.
const CLIENTS: usize = 4;
/// Before a measurement, for what came before to settle.
const SETTLE: Duration = Duration::from_millis(500);
/// What p99 beside a bomb may be of p99 alone.
const RATIO_GOAL: f64 = 1.5;

const MEMORY_MIB: usize = 128;
/// More than a replica's memory: its pages are read anew again and again.
const MODEL_BYTES: usize = 160 << 20;

/// A kind of bomb by name, and the script and size of its model.
fn bombs() -> Vec<(&'static str, Infer, usize)> {
    let bomb = |name, bomb| (name, Infer::Bomb(bomb), 0);
    let page_cache = Bomb::PageCache { hold_mebibytes: MEMORY_MIB - 24, rounds: 1_000_000 };
    vec![
        bomb("processor, all threads", Bomb::Spin),
        bomb("threads, over and over", Bomb::Threads),
        bomb("memory at once, over and over", Bomb::Memory),
        bomb("memory little by little", Bomb::MemorySlowly),
        ("page cache", Infer::Bomb(page_cache), MODEL_BYTES),
        bomb("descriptors, over and over", Bomb::Descriptors),
        bomb("/tmp, over and over", Bomb::Tmp),
        bomb("empty files, over and over", Bomb::Files),
        bomb("output", Bomb::Log { flood: Flood::Lines, mebibytes: 1 << 20 }),
        ("crashes, over and over", Infer::Crash, 0),
    ]
}

/// Figures of one kind, in milliseconds: medians of the rounds'.
struct Row {
    bomb: &'static str,
    alone: [f64; 2],
    beside: [f64; 2],
    ratio: f64,
    set_off: usize,
}

/// Of the bombs whose names contain `filter`.
pub(crate) fn run(workspace: &Path, filter: &str) -> Result<(), Failure> {
    let [model, ..] = Model::all(&workspace.join("target/setup/models"));
    let program = workspace.join("target/release/dormouse-fake");
    let daemon = Home::of(program.to_str().ok_or("a path that is no text")?)
        .endpoint("memory", &format!("\"{MEMORY_MIB}Mi\""))
        .endpoint("timeout", "\"1h\"")
        .endpoint("freeze_after", "\"10m\"")
        // A bomber that does not answer is not waited for.
        .endpoint("drain_deadline", "\"1s\"")
        // The least there is, so that it goes off as often as it can.
        .set("endpoint.crash_back_off", "max", "\"1s\"")
        .start();
    daemon.deploy("neighbour", &model.path);
    let load = load_average()?;
    measure(&daemon, &model)?;
    let mut rows = Vec::new();
    println!("| beside | p50 alone ms | p99 alone | p50 beside | p99 beside | p99 beside ÷ alone | set off |");
    println!("|---|---|---|---|---|---|---|");
    for (bomb, infer, padding) in bombs().into_iter().filter(|(name, ..)| name.contains(filter)) {
        let row = rounds(&daemon, &model, bomb, infer, padding)?;
        let Row { bomb, alone, beside, ratio, set_off } = &row;
        println!(
            "| {bomb} | {:.2} | {:.2} | {:.2} | {:.2} | {ratio:.2}{} | {set_off} |",
            alone[0],
            alone[1],
            beside[0],
            beside[1],
            if *ratio > RATIO_GOAL { " (missed)" } else { "" },
        );
        rows.push(row);
    }
    let after = load_average()?;
    println!(
        "\nmedians of {ROUNDS} rounds of {REQUESTS} requests to {}, one every {REQUEST_EVERY:?}; the machine's load was \
         {load} before and {after} after",
        model.name
    );
    let path = workspace.join("target/bench-neighbours.json");
    let rows: Vec<Value> = rows.iter().map(Row::json).collect();
    std::fs::write(&path, serde_json::to_vec_pretty(&json!({ "load": [load, after], "rows": rows }))?)?;
    eprintln!("written to {}", path.display());
    Ok(())
}

/// Alone and beside in turns.
fn rounds(daemon: &Daemon, model: &Model, bomb: &'static str, infer: Infer, padding: usize) -> Result<Row, Failure> {
    let (mut alone, mut beside, mut set_off) = (Vec::new(), Vec::new(), 0);
    for _ in 0..ROUNDS {
        alone.push(figures(&measure(daemon, model)?));
        let script = Script::echo().infer(infer).salt("bomber").to_padded_model(padding);
        let bomber = daemon.deploy("bomber", &daemon.home().write("bomber.onnx", script));
        forget_pages(&bomber)?;
        let over = AtomicBool::new(false);
        let times = AtomicUsize::new(0);
        let measured = thread::scope(|scope| {
            scope.spawn(|| set_off_until(&bomber, &over, &times));
            let measured = measure(daemon, model).map_err(|error| error.to_string());
            over.store(true, Ordering::Release);
            // Whoever waits for an answer of it gets one now.
            bomber.delete();
            measured
        });
        beside.push(figures(&measured?));
        set_off += times.into_inner();
    }
    let ratio = median(alone.iter().zip(&beside).map(|(alone, beside)| beside[1] / alone[1]));
    let medians = |figures: &[[f64; 2]]| [0, 1].map(|which| median(figures.iter().map(|figures| figures[which])));
    Ok(Row { bomb, alone: medians(&alone), beside: medians(&beside), ratio, set_off })
}

/// Calls the bomber again and again, whatever it answers.
fn set_off_until(bomber: &Endpoint<'_>, over: &AtomicBool, times: &AtomicUsize) {
    while !over.load(Ordering::Acquire) {
        if let Ok(mut connection) = TestConnection::try_to(bomber.daemon.address()) {
            // It may break off, or answer nothing before it is deleted.
            let answered = connection.try_send(&bomber.echo_request(1));
            times.fetch_add(1, Ordering::Relaxed);
            // Held off after a crash, it need not be asked at once.
            if answered.is_ok_and(|answer| answer.status == 503) {
                thread::sleep(REQUEST_EVERY);
            }
        }
    }
}

/// Requests at their times, by clients that share them.
fn measure(daemon: &Daemon, model: &Model) -> Result<Samples, Failure> {
    thread::sleep(SETTLE);
    let begun = Instant::now() + REQUEST_EVERY;
    let next = AtomicUsize::new(0);
    let measured = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(|| client(daemon, model, begun, &next))).collect();
        clients.into_iter().map(|client| client.join().map_err(|_| "a client panicked".to_owned())?).collect()
    });
    let measured: Result<Vec<Samples>, String> = measured;
    let mut all = Samples::default();
    measured?.into_iter().for_each(|samples| all.append(samples));
    Ok(all)
}

fn client(daemon: &Daemon, model: &Model, begun: Instant, next: &AtomicUsize) -> Result<Samples, String> {
    let failed = |error: std::io::Error| format!("the neighbour's answer: {error}");
    let stream = std::net::TcpStream::connect(daemon.address()).map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    let mut connection = Connection::new(stream);
    let mut samples = Samples::default();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= REQUESTS {
            return Ok(samples);
        }
        let due = begun + REQUEST_EVERY * u32::try_from(number).unwrap_or(u32::MAX);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        connection.infer("neighbour", model).map_err(failed)?;
        samples.push(due.elapsed());
    }
}

/// p50 and p99.
fn figures(samples: &Samples) -> [f64; 2] {
    [samples.median_ms(), samples.percentile_ms(0.99)]
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The node's copy of a model is in memory; what reads it next has to fetch it, and is charged for it.
fn forget_pages(endpoint: &Endpoint<'_>) -> Result<(), Failure> {
    let digest = endpoint.status()["model"].as_str().ok_or("no model")?.replace(':', "-");
    let model = endpoint.daemon.home().data().join("models").join(digest).join("model.onnx");
    Ok(rustix::fs::fadvise(&std::fs::File::open(model)?, 0, None, rustix::fs::Advice::DontNeed)?)
}

fn load_average() -> Result<String, Failure> {
    let text = std::fs::read_to_string("/proc/loadavg")?;
    Ok(text.split_whitespace().next().unwrap_or_default().to_owned())
}

impl Row {
    fn json(&self) -> Value {
        let times = |[p50, p99]: [f64; 2]| json!({ "p50_ms": p50, "p99_ms": p99 });
        json!({
            "bomb": self.bomb, "alone": times(self.alone), "beside": times(self.beside), "p99_ratio": self.ratio,
            "goal": RATIO_GOAL, "set_off": self.set_off, "rounds": ROUNDS, "requests": REQUESTS,
        })
    }
}

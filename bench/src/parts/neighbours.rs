//! What a neighbour notices of a replica that takes all it can get.
//!
//! One endpoint serves a real model at a modest, fixed rate. It is measured alone and beside each kind
//! of bomb in turns, several times over, so that what else the machine does meets both alike. Requests
//! are due at fixed times, and an answer's time is counted from when its request was due: one that
//! waits behind a late one is late as well.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use dormouse_tests::{
    Connection as TestConnection, Daemon, Endpoint, Home, Script,
    script::{Bomb, Flood, Infer},
};
use serde_json::{Value, json};

use crate::{
    Bench, Failure,
    http::Connection,
    models::Model,
    report::{Report, Row, Table, Unit},
    stats::Samples,
};

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
struct Figures {
    bomb: &'static str,
    alone: [f64; 2],
    beside: [f64; 2],
    ratio: f64,
    set_off: usize,
}

pub(super) fn measure(bench: &Bench) -> Result<Report, Failure> {
    let model = Model::named(&bench.setup, "silero_vad")?;
    let program = bench.sibling("dormouse-fake")?;
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
    requests(&daemon, &model)?;
    let mut report = Report::default();
    let mut table = Table::new(&[
        "beside",
        "p50 alone ms",
        "p99 alone",
        "p50 beside",
        "p99 beside",
        "p99 beside ÷ alone",
        "set off",
    ]);
    let mut data = Vec::new();
    for (bomb, infer, padding) in bombs().into_iter().filter(|(name, ..)| name.contains(&bench.filter)) {
        eprintln!("beside a replica with {bomb} …");
        let figures = rounds(bench.effort.rounds, &daemon, &model, bomb, infer, padding)?;
        figures.line(&mut table);
        let outcome = Ok((figures.ratio, None, bench.effort.rounds));
        report.rows.push(Row::new(format!("beside {bomb}: p99 ÷ alone"), Unit::Ratio, Some(RATIO_GOAL), outcome));
        data.push(figures.json());
    }
    report.tables.push(table);
    report.data = json!({
        "model": model.name, "rounds": bench.effort.rounds, "requests": REQUESTS,
        "request_every_ms": REQUEST_EVERY.as_secs_f64() * 1e3, "bombs": data,
    });
    Ok(report)
}

/// Alone and beside in turns.
fn rounds(
    rounds: usize,
    daemon: &Daemon,
    model: &Model,
    bomb: &'static str,
    infer: Infer,
    padding: usize,
) -> Result<Figures, Failure> {
    let (mut alone, mut beside, mut set_off) = (Vec::new(), Vec::new(), 0);
    for _ in 0..rounds {
        alone.push(figures(&requests(daemon, model)?));
        let script = Script::echo().infer(infer).salt("bomber").to_padded_model(padding);
        let bomber = daemon.deploy("bomber", &daemon.home().write("bomber.onnx", script));
        forget_pages(&bomber)?;
        let over = AtomicBool::new(false);
        let times = AtomicUsize::new(0);
        let measured = thread::scope(|scope| {
            scope.spawn(|| set_off_until(&bomber, &over, &times));
            let measured = requests(daemon, model).map_err(|error| error.to_string());
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
    Ok(Figures { bomb, alone: medians(&alone), beside: medians(&beside), ratio, set_off })
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
fn requests(daemon: &Daemon, model: &Model) -> Result<Samples, Failure> {
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
        connection.infer("neighbour", &model.request).map_err(failed)?;
        samples.push(due.elapsed());
    }
}

/// p50 and p99.
fn figures(samples: &Samples) -> [f64; 2] {
    [samples.median(), samples.percentile(0.99)]
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    values.collect::<Samples>().median()
}

/// The node's copy of a model is in memory; what reads it next has to fetch it, and is charged for it.
fn forget_pages(endpoint: &Endpoint<'_>) -> Result<(), Failure> {
    let digest = endpoint.status()["model"].as_str().ok_or("no model")?.replace(':', "-");
    let model = endpoint.daemon.home().data().join("models").join(digest).join("model.onnx");
    Ok(rustix::fs::fadvise(&std::fs::File::open(model)?, 0, None, rustix::fs::Advice::DontNeed)?)
}

impl Figures {
    fn line(&self, table: &mut Table) {
        let ms = |value: f64| format!("{value:.2}");
        let [[alone, alone_p99], [beside, beside_p99]] = [self.alone, self.beside];
        table.row([
            self.bomb.to_owned(),
            ms(alone),
            ms(alone_p99),
            ms(beside),
            ms(beside_p99),
            ms(self.ratio),
            self.set_off.to_string(),
        ]);
    }

    fn json(&self) -> Value {
        let times = |[p50, p99]: [f64; 2]| json!({ "p50_ms": p50, "p99_ms": p99 });
        json!({
            "bomb": self.bomb, "alone": times(self.alone), "beside": times(self.beside), "p99_ratio": self.ratio,
            "set_off": self.set_off,
        })
    }
}

//! The soak of one daemon, from its first start to the last thing it leaves.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use dormouse_tests::{
    Daemon, Home,
    machine_state::{MachineState, Memory, Subject, leftovers},
    wait::until_true,
};

use crate::{
    answers::Allowed,
    deploys, kills,
    load::World,
    model::Worker,
    operator::{Operator, Origin, Rest, must},
    random::Random,
    report::Report,
    wakes,
};

/// Endpoints that stay: half of them are frozen before they end, and half are forked of templates.
const BASE: usize = 6;
/// What exists only once something of a kind was done exists after this many.
const WARM_UP: u64 = 24;
/// Deploys of which half are enough to tell steady growth from that of a beginning.
const HALVES_TELL_FROM: u64 = 100;
/// How long what ends by itself may take: kept logs, idle threads of a runtime, connections.
const SETTLE_MAX: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How often each thing is done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Share {
    pub(crate) wakes: u64,
    pub(crate) deploys: u64,
    pub(crate) kills: u64,
}

impl Share {
    pub(crate) fn of(n: u64) -> Self {
        Self { wakes: n, deploys: n, kills: n * 3 / 10 }
    }
}

/// What a picture of a running daemon tells.
struct Picture {
    state: MachineState,
    spawner: Memory,
    node: Memory,
}

pub(crate) fn soak(worker: Worker, share: Share, mut random: Random) -> Report {
    let mut report = Report::of(worker);
    let random = &mut random;
    let home = worker
        .home()
        .endpoint("memory", "\"128Mi\"")
        .endpoint("tmp", "\"1Mi\"")
        .endpoint("max_replicas", "2")
        .endpoint("timeout", "\"20s\"")
        .endpoint("drain_deadline", "\"10s\"")
        // Killed workers look like crashes, and their endpoints are to go on.
        .set("endpoint.crash_back_off", "max", "\"1s\"")
        // What they printed is not to outlive the look at the files.
        .set("endpoint.logs", "kept_after_exit", "\"1s\"");
    let daemon = home.start();
    let world = World::of(worker, &daemon);
    worker.bring(&daemon);
    let base = deploy_base(&world, &daemon);

    wakes::run(&world, &base, WARM_UP, random);
    deploys::run(&world, daemon.home(), 0..WARM_UP, random);
    let before = settled(&daemon, None);

    let half = share.deploys / 2;
    wakes::run(&world, &base, share.wakes / 2, random);
    deploys::run(&world, daemon.home(), WARM_UP..WARM_UP + half, random);
    let halfway = (share.deploys >= HALVES_TELL_FROM).then(|| settled(&daemon, Some(&before)));
    wakes::run(&world, &base, share.wakes - share.wakes / 2, random);
    deploys::run(&world, daemon.home(), WARM_UP + half..WARM_UP + share.deploys, random);
    let worked = settled(&daemon, Some(&before));
    count_wakes(&world, &daemon, &base, share);

    let daemon = kills::run(&world, daemon, &base, share.kills, random, &mut report);
    let survived = settled(&daemon, Some(&before));
    report.compare(&before.state, &worked.state, &survived.state);
    let of = |half: fn(&Picture) -> Memory| (half(&before), halfway.as_ref().map(half), half(&worked));
    for (name, (before, halfway, after)) in
        [("spawner", of(|picture| picture.spawner)), ("node", of(|picture| picture.node))]
    {
        report.memory(name, before, halfway, after);
    }

    end(&world, daemon, &base, &mut report);
    report.answers(&world.answers);
    report
}

fn deploy_base(world: &World, daemon: &Daemon) -> Vec<String> {
    let operator = Operator { home: daemon.home(), world };
    let names: Vec<String> = (0..BASE).map(|number| format!("base{number}")).collect();
    for (number, name) in names.iter().enumerate() {
        let rest = if number % 2 == 0 { Rest::Zero } else { Rest::FreezeThenZero };
        let origin = if number < BASE / 2 { Origin::Loaded } else { Origin::Forked };
        // Two of them are one model.
        let salt = format!("base{}", number.min(BASE - 2));
        assert!(must(&world.answers, name, &operator.deploy(name, &salt, (origin, rest))), "the soak cannot begin");
    }
    names
}

/// A picture of a daemon at rest: as it was before, or as it still is after a time in which all that
/// ends by itself has ended.
fn settled(daemon: &Daemon, before: Option<&Picture>) -> Picture {
    let begun = Instant::now();
    let mut state = MachineState::of(daemon);
    let mut same_since = Instant::now();
    loop {
        let is_settled = match before {
            Some(before) => state == before.state,
            // Twice the time after which the last of it ends: threads without work, ten seconds.
            None => same_since.elapsed() > Duration::from_secs(12),
        };
        if is_settled || begun.elapsed() > SETTLE_MAX {
            break;
        }
        sleep(LOOK_EVERY);
        let now = MachineState::of(daemon);
        if now != state {
            (state, same_since) = (now, Instant::now());
        }
    }
    Picture { state, spawner: Memory::of(daemon.pid()), node: Memory::of(daemon.node_pid()) }
}

/// By the daemon's own count: each of the calls was a wake from zero, some of them of a template.
fn count_wakes(world: &World, daemon: &Daemon, base: &[String], share: Share) {
    let metrics = daemon.metrics();
    let starts = |rung: &str| -> f64 {
        let of = |name: &String| {
            let labels = [format!("endpoint=\"{name}\""), format!("rung=\"{rung}\""), "result=\"ok\"".to_owned()];
            metrics.sum("dormouse_starts_total", &labels.each_ref().map(String::as_str))
        };
        base.iter().map(of).sum()
    };
    let (loaded, forked) = (starts("created") + starts("claimed"), starts("forked"));
    let expected = (share.wakes + WARM_UP) as f64;
    if loaded + forked < expected || (forked == 0.0) == world.worker.has_templates() {
        world.answers.wrong(format!("{loaded} replicas loaded and {forked} forked for {expected} cold wakes"));
    }
    world.answers.count_many("cold wakes that were forked", forked as u64);
}

/// Everything is deleted and the daemon stopped; then another life of it is killed and a third one
/// stopped. Nothing may be left either time.
fn end(world: &World, daemon: Daemon, base: &[String], report: &mut Report) {
    let subject = Subject::of(&daemon);
    let operator = Operator { home: daemon.home(), world };
    for name in base {
        must(&world.answers, name, &operator.delete(name));
    }
    world.worker.take_away(&daemon);
    let home = daemon.stop();
    report.left("after the stop", &leftovers(&subject));

    let daemon = home.start_again();
    world.moved_to(daemon.address());
    world.worker.bring(&daemon);
    let operator = Operator { home: daemon.home(), world };
    must(&world.answers, "last", &operator.deploy("last", "last", (Origin::Forked, Rest::Freeze)));
    world.call("last", Allowed::Nothing);
    let home = daemon.kill();
    let daemon = home.start_again();
    world.moved_to(daemon.address());
    world.call("last", Allowed::Nothing);
    let operator = Operator { home: daemon.home(), world };
    must(&world.answers, "last", &operator.delete("last"));
    world.worker.take_away(&daemon);
    until_true("its log is gone", || dormouse_logs(daemon.home()) == 0);
    drop(daemon.stop());
    report.left("after kill, restart and stop", &leftovers(&subject));
}

fn dormouse_logs(home: &Home) -> usize {
    std::fs::read_dir(home.run().join("logs")).map_or(0, Iterator::count)
}

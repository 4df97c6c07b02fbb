//! Requests that come at the wrong time, put to a scripted replica.

use std::thread::{self, Scope, ScopedJoinHandle};

use dormouse_tests::{
    Endpoint, Response, Script, processes,
    script::{Infer, Load},
    wait::until,
};
use rustix::process::Signal;

use super::{
    Answer, Bench,
    Expected::{ComeAgain, Status},
    Row,
};
use crate::deadlines::late_together;

/// Sends one request to a new endpoint that behaves like `script`.
fn one(bench: &Bench, script: Script, settings: &[(&str, &str)]) -> Answer {
    with(bench, Script::echo(), settings, |endpoint| {
        endpoint.play(script);
        endpoint.daemon.send(&endpoint.echo_request(1))
    })
}

/// Makes an endpoint, asks, and removes it.
fn with(
    bench: &Bench,
    script: Script,
    settings: &[(&str, &str)],
    ask: impl FnOnce(&Endpoint<'_>) -> Response,
) -> Answer {
    let endpoint = bench.fake.deploy_fake("row", script, settings);
    let answer = ask(&endpoint);
    endpoint.delete();
    answer.into()
}

/// Asks while the only replica is held by another request.
fn behind(bench: &Bench, settings: &[(&str, &str)], ask: fn(&Endpoint<'_>) -> Response) -> Answer {
    with(bench, Script::echo().infer(Infer::Hold), settings, |endpoint| {
        thread::scope(|scope| {
            let held = held(scope, endpoint);
            let answer = ask(endpoint);
            endpoint.play(Script::echo());
            let _ = held.join().unwrap().ok();
            answer
        })
    })
}

fn held<'scope>(
    scope: &'scope Scope<'scope, '_>,
    endpoint: &'scope Endpoint<'_>,
) -> ScopedJoinHandle<'scope, Response> {
    let held = scope.spawn(|| endpoint.daemon.send(&endpoint.echo_request(0)));
    endpoint.until_leases(1);
    held
}

fn send(endpoint: &Endpoint<'_>) -> Response {
    endpoint.daemon.send(&endpoint.echo_request(1))
}

fn queue_full(endpoint: &Endpoint<'_>) -> Response {
    thread::scope(|scope| {
        let waiting = scope.spawn(|| send(endpoint));
        endpoint.until_waiters(1);
        let refused = send(endpoint);
        endpoint.play(Script::echo());
        let _ = waiting.join().unwrap().ok();
        refused
    })
}

fn back_off(endpoint: &Endpoint<'_>) -> Response {
    endpoint.play(Script::echo().load(Load::Fail));
    let _ = send(endpoint).error(503);
    send(endpoint)
}

fn draining(endpoint: &Endpoint<'_>) -> Response {
    thread::scope(|scope| {
        let held = held(scope, endpoint);
        let deleting = scope.spawn(|| endpoint.delete());
        until("it drains", || (endpoint.daemon.get(&endpoint.path("/ready")).status == 503).then_some(()));
        let refused = send(endpoint);
        endpoint.play(Script::echo());
        let _ = held.join().unwrap().ok();
        deleting.join().unwrap();
        endpoint.daemon.deploy_fake("row", Script::echo(), &[]);
        refused
    })
}

/// One of those that wait while another holds the replica until everybody's time is up.
fn late_in_queue(endpoint: &Endpoint<'_>) -> Response {
    let late = late_together(endpoint).into_iter().find(|error| error.contains("queue"));
    Response { status: 504, headers: Vec::new(), body: late.unwrap_or_default().into_bytes() }
}

fn deploying(bench: &Bench) -> Answer {
    let model = bench.fake.home().write("row.onnx", Script::echo().load(Load::Hold).to_model());
    let endpoint = Endpoint::of(&bench.fake, "row");
    thread::scope(|scope| {
        let deploy = scope.spawn(|| bench.fake.cli(&["deploy", model.to_str().unwrap()]));
        until("its replica loads", || endpoint.processes().first().copied());
        let refused = send(&endpoint);
        processes::kill(endpoint.processes()[0], Signal::KILL);
        let _ = deploy.join().unwrap().failed(1);
        endpoint.delete();
        refused.into()
    })
}

pub(super) const ROWS: &[Row] = &[
    Row { wrong: "queue full", expected: ComeAgain, says: &["queue is full"], ask: |it| behind(it, &[], queue_full) },
    Row {
        wrong: "back-off",
        expected: ComeAgain,
        says: &["the script says no"],
        ask: |it| with(it, Script::echo(), &[], back_off),
    },
    Row {
        wrong: "draining",
        expected: ComeAgain,
        says: &["draining"],
        ask: |it| with(it, Script::echo().infer(Infer::Hold), &[], draining),
    },
    Row { wrong: "still deploying", expected: ComeAgain, says: &["deployed"], ask: deploying },
    Row {
        wrong: "could not be started",
        expected: ComeAgain,
        says: &["could not be started", "the script says no"],
        ask: |it| one(it, Script::echo().load(Load::Fail), &[]),
    },
    Row {
        wrong: "died while it started",
        expected: ComeAgain,
        says: &["could not be started", "status 7"],
        ask: |it| one(it, Script::echo().load(Load::Exit { code: 7 }), &[]),
    },
    Row {
        wrong: "late in the queue",
        expected: Status(504),
        says: &["queue"],
        ask: |it| {
            let settings = [("timeout", "2s"), ("queue-waiters-max", "100")];
            with(it, Script::echo().infer(Infer::Hold), &settings, late_in_queue)
        },
    },
    Row {
        wrong: "late in the start",
        expected: Status(504),
        says: &["start"],
        ask: |it| one(it, Script::echo().load(Load::Hold), &[("timeout", "300ms")]),
    },
    Row {
        wrong: "late in the inference",
        expected: Status(504),
        says: &["inference"],
        ask: |it| one(it, Script::echo().infer(Infer::Hold), &[("timeout", "2s")]),
    },
    Row {
        wrong: "killed by a signal",
        expected: Status(502),
        says: &["killed by signal"],
        ask: |it| one(it, Script::echo().infer(Infer::Crash), &[]),
    },
    Row {
        wrong: "exited",
        expected: Status(502),
        says: &["exited with status 3"],
        ask: |it| one(it, Script::echo().infer(Infer::Exit { code: 3 }), &[]),
    },
    Row {
        wrong: "hung up without an answer",
        expected: Status(502),
        says: &["broke off"],
        ask: |it| one(it, Script::echo().infer(Infer::HangUp), &[]),
    },
    Row {
        wrong: "out of memory",
        expected: Status(502),
        says: &["out of memory", "64 MiB"],
        ask: |it| one(it, Script::echo().infer(Infer::EatMemory), &[("memory", "64Mi"), ("tmp", "1Mi")]),
    },
];

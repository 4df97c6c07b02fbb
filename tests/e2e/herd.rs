//! Many first requests at once, and more models than memory.

use std::thread;

use dormouse_tests::{
    Daemon, Endpoint, Request, Round, Script, endpoint::echo_body, paths, script::Infer, wait::until_true,
};
use serde_json::json;

use crate::{fake, real, server::Server};

const CALLERS: usize = 200;

pub(crate) fn two_hundred_first_requests_share_the_starts(round: Round) {
    let server = Server { round };
    let daemon = server.home().endpoint("max_replicas", "2").start();
    let endpoint = server.deploy(&daemon, "vad");
    thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| server.call(&endpoint));
        }
    });
    let metrics = daemon.metrics();
    let starts = metrics.sum("dormouse_starts_total", &["endpoint=\"vad\"", &format!("rung=\"{}\"", round.rung())]);
    assert!((1.0..=2.0).contains(&starts), "{starts} starts");
    assert_eq!(metrics.sum("dormouse_requests_total", &["endpoint=\"vad\"", "code=\"200\""]), CALLERS as f64);
    assert_eq!(metrics.of_endpoint("dormouse_requests_total", "vad"), CALLERS as f64);
    until_true("the metrics show that nobody waits", || {
        daemon.metrics().of_endpoint("dormouse_queue_waiters", "vad") == 0.0
    });
}

pub(crate) fn replicas_follow_the_load_up_and_down(round: Round) {
    let daemon = fake()
        .in_round(round)
        .endpoint("max_replicas", "3")
        .endpoint("container_concurrency", "2")
        .endpoint("freeze_after", "\"200ms\"")
        .endpoint("zero_after", "\"5s\"")
        .start();
    let endpoint = daemon.deploy_fake("m", Script::echo().infer(Infer::Hold), &[]);
    let (endpoint, send) = (&endpoint, |data| endpoint.infer(&echo_body(data)));
    thread::scope(|scope| {
        let mut running = Vec::new();
        // Two fill one replica; what all three cannot take waits.
        for (data, replicas) in [(0, 1), (1, 1), (2, 2), (3, 2), (4, 3), (5, 3)] {
            running.push(scope.spawn(move || send(data)));
            endpoint.until_leases(data as u64 + 1);
            assert_eq!(endpoint.phases(), vec!["ready"; replicas]);
        }
        running.push(scope.spawn(move || send(6)));
        endpoint.until_waiters(1);
        assert_eq!(endpoint.replicas().len(), 3);
        assert!(endpoint.replicas().iter().all(|replica| replica.leases == 2), "nobody has more than its share");
        endpoint.play(Script::echo());
        for (data, answer) in running.into_iter().enumerate() {
            assert_eq!(answer.join().unwrap().ok().json()["outputs"][0]["data"], json!([data]));
        }
    });
    endpoint.until_phases(&["frozen", "frozen", "frozen"]);
    endpoint.until_phases(&[]);
}

const ENDPOINTS: usize = 6;
const ROUNDS: usize = 3;

pub(crate) fn endpoints_of_three_times_the_memory_all_answer(round: Round) {
    // Two of them fit at a time.
    let home = if round == Round::Image { fake() } else { real() };
    let daemon = home
        .in_round(round)
        .memory_for_replicas(256)
        .endpoint("memory", "\"128Mi\"")
        .endpoint("tmp", "\"1Mi\"")
        .endpoint("max_replicas", "1")
        .start();
    let names: Vec<String> = (0..ENDPOINTS).map(|number| format!("m{number}")).collect();
    let deploy = |name: &String| match round {
        Round::Created | Round::Claimed | Round::Forked => daemon.deploy(name, &paths::fixture("memory.onnx")),
        Round::Image => daemon.deploy_fake(name, Script::echo().infer(Infer::Fill), &[]),
    };
    let endpoints: Vec<Endpoint<'_>> = names.iter().map(deploy).collect();
    thread::scope(|scope| {
        for (number, endpoint) in endpoints.iter().enumerate() {
            scope.spawn(move || (0..ROUNDS).for_each(|round| fill_memory(endpoint, 1 + number + round)));
        }
    });
    let metrics = daemon.metrics();
    for endpoint in &endpoints {
        assert_eq!(endpoint.status()["last_failure"], json!(null), "nothing was killed");
        assert_eq!(metrics.sum("dormouse_starts_total", &[&label(endpoint), "result=\"failed\""]), 0.0);
    }
    assert!(metrics.sum("dormouse_memory_used_bytes", &[]) <= metrics.sum("dormouse_memory_budget_bytes", &[]));
    assert_eq!(kills(&daemon), 0);
}

/// The model fills this many MiB with ones and answers their sum.
fn fill_memory(endpoint: &Endpoint<'_>, mebibytes: usize) {
    let body = json!({ "inputs": [{ "name": "mebibytes", "datatype": "INT64", "shape": [1], "data": [mebibytes] }] });
    let answer = endpoint.daemon.send(&Request::infer(&endpoint.name, &body)).ok().json();
    assert_eq!(answer["outputs"][0]["data"], json!([(mebibytes * 262_144) as f64]));
}

fn label(endpoint: &Endpoint<'_>) -> String {
    format!("endpoint={:?}", endpoint.name)
}

/// How often the daemon told of a replica that ran out of memory.
fn kills(daemon: &Daemon) -> usize {
    daemon.log().matches("out of memory").count()
}

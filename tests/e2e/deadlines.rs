//! Every wait has an end, and the answer says which one it was.

use std::thread;

use dormouse_tests::{
    Endpoint, Home, Round, Script,
    endpoint::echo_body,
    http2,
    script::{Infer, Load},
    wait::until_true,
};

use crate::fake;

/// More than one moment has room for.
const TOGETHER: i64 = 40;

/// One replica that serves one request at a time.
fn narrow(round: Round) -> Home {
    fake().in_round(round).endpoint("max_replicas", "1").endpoint("container_concurrency", "1")
}

/// Sends a request that its replica holds.
pub(crate) fn hold<'scope, 'env>(
    scope: &'scope thread::Scope<'scope, 'env>,
    endpoint: &'env Endpoint<'env>,
) -> thread::ScopedJoinHandle<'scope, dormouse_tests::Response> {
    let held = scope.spawn(|| endpoint.daemon.send(&endpoint.echo_request(0)));
    endpoint.until_leases(1);
    held
}

pub(crate) fn time_that_runs_out_in_the_inference(round: Round) {
    let daemon = narrow(round).start();
    let endpoint = daemon.deploy_fake("m", Script::echo().infer(Infer::Hold), &[("timeout", "2s")]);
    let error = daemon.send(&endpoint.echo_request(1)).error(504);
    assert!(error.contains(round.late()), "{error}");
    endpoint.play(Script::echo());
    endpoint.check_echo(2);
}

pub(crate) fn time_that_runs_out_in_the_queue(round: Round) {
    let daemon = narrow(round).start();
    let endpoint = daemon.deploy_fake("m", Script::echo().infer(Infer::Hold), &[("timeout", "2s")]);
    let errors = late_together(&endpoint);
    let of = |place: &str| errors.iter().filter(|error| error.contains(place)).count();
    assert!(of("queue") > 0, "{errors:?}");
    assert_eq!(of("queue") + of(round.late()), errors.len(), "{errors:?}");
    endpoint.until_waiters(0);
    endpoint.play(Script::echo());
    endpoint.check_echo(2);
}

/// Sends requests that all run out of time in the same moment, one of them in the replica.
pub(crate) fn late_together(endpoint: &Endpoint<'_>) -> Vec<String> {
    let asks = (0..TOGETHER).map(|n| ("POST", endpoint.path("/infer"), echo_body(n).to_string().into_bytes()));
    let told = |(status, body): (u16, Vec<u8>)| {
        assert_eq!(status, 504);
        String::from_utf8_lossy(&body).into_owned()
    };
    http2::exchange(endpoint.daemon.address(), asks.collect()).into_iter().map(told).collect()
}

pub(crate) fn time_that_runs_out_in_the_start(round: Round) {
    let daemon = narrow(round).start();
    let endpoint = daemon.deploy_fake("m", Script::echo(), &[("timeout", "2s")]);
    endpoint.play(Script::echo().load(Load::Hold));
    let error = daemon.send(&endpoint.echo_request(1)).error(504);
    assert!(error.contains("start"), "{error}");
    endpoint.play(Script::echo());
    // What was begun for it is for the next one: its replica, or the template that it would be forked from.
    until_true("it is ready", || {
        let is_ready = |list: &str| endpoint.status()[list].as_array().unwrap().iter().any(|it| it["phase"] == "ready");
        is_ready(if round == Round::Forked { "templates" } else { "replicas" })
    });
    endpoint.check_echo(2);
}

pub(crate) fn a_replica_that_never_gets_ready_is_given_up(round: Round) {
    let daemon = narrow(round).start();
    let endpoint = daemon.deploy_fake("m", Script::echo(), &[("start-deadline", "3s")]);
    endpoint.play(Script::echo().load(Load::Hold));
    let refused = daemon.send(&endpoint.echo_request(1));
    assert!(refused.error(503).contains("not ready within 3s"), "{}", refused.text());
    let _ = refused.retry_after();
    endpoint.until_phases(&[]);
}

pub(crate) fn a_full_queue_refuses_at_once(round: Round) {
    let daemon = narrow(round).start();
    let endpoint = daemon.deploy_fake("m", Script::echo().infer(Infer::Hold), &[("queue-waiters-max", "1")]);
    thread::scope(|scope| {
        let held = hold(scope, &endpoint);
        let waiting = scope.spawn(|| daemon.send(&endpoint.echo_request(2)));
        endpoint.until_waiters(1);
        let refused = daemon.send(&endpoint.echo_request(3));
        assert!(refused.error(503).contains("queue is full"), "{}", refused.text());
        let _ = refused.retry_after();
        endpoint.play(Script::echo());
        for (answer, data) in [(held, 0), (waiting, 2)] {
            assert_eq!(answer.join().unwrap().ok().json()["outputs"][0]["data"][0], data);
        }
    });
}

pub(crate) fn memory_that_others_hold_is_told_after_the_deadline(round: Round) {
    let daemon =
        narrow(round).memory_for_replicas(256).endpoint("memory", "\"256Mi\"").endpoint("tmp", "\"1Mi\"").start();
    let holder = daemon.deploy_fake("holder", Script::echo().infer(Infer::Hold), &[]);
    // Over before what serves would have to make room for it.
    let other = daemon.deploy_fake("other", Script::echo(), &[("timeout", "500ms")]);
    thread::scope(|scope| {
        let held = hold(scope, &holder);
        let refused = daemon.send(&other.echo_request(1));
        assert!(refused.error(503).contains("memory is short: 256Mi"), "{}", refused.text());
        let _ = refused.retry_after();
        holder.play(Script::echo());
        let _ = held.join().unwrap().ok();
    });
    // One try may be too short for what is begun for it.
    until_true("an idle replica makes room", || daemon.send(&other.echo_request(2)).status == 200);
    holder.check_echo(3);
}

pub(crate) fn a_delete_drains_and_refuses_meanwhile(round: Round) {
    let daemon = narrow(round).start();
    let endpoint = daemon.deploy_fake("m", Script::echo().infer(Infer::Hold), &[]);
    thread::scope(|scope| {
        let held = hold(scope, &endpoint);
        let deleting = scope.spawn(|| endpoint.delete());
        let refused = dormouse_tests::wait::until("it drains", || {
            let answer = daemon.get(&endpoint.path("/ready"));
            (answer.status == 503).then(|| daemon.send(&endpoint.echo_request(1)))
        });
        assert!(refused.error(503).contains("draining"), "{}", refused.text());
        let _ = refused.retry_after();
        endpoint.play(Script::echo());
        let _ = held.join().unwrap().ok();
        deleting.join().unwrap();
    });
    let _ = daemon.get(&endpoint.path("")).error(404);
}

//! Replicas that die, do not start, or do not end.

use std::process::Stdio;

use dormouse_tests::{
    Connection, Endpoint, Round, Script, Told,
    processes::kill,
    script::{Infer, Load, OnSigterm},
    wait::{until, until_true},
};

use rustix::process::Signal;

use crate::fake;

pub(crate) fn a_crash_costs_its_request_and_the_next_one_works(round: Round) {
    let daemon = fake().in_round(round).start();
    let endpoint = daemon.deploy_fake("m", Script::echo(), &[]);
    for (infer, cause) in [(Infer::Crash, "killed by signal"), (Infer::Exit { code: 3 }, "exited with status 3")] {
        endpoint.play(Script::echo().infer(infer));
        let error = daemon.send(&endpoint.echo_request(1)).error(502);
        assert!(error.contains(cause), "{error}");
        endpoint.play(Script::echo());
        endpoint.check_echo(2);
        let failure = endpoint.status()["last_failure"].as_str().unwrap_or_default().to_owned();
        assert!(failure.contains(cause), "{failure}");
    }
}

pub(crate) fn out_of_memory_is_told_from_a_crash(round: Round) {
    let daemon = fake().in_round(round).endpoint("memory", "\"64Mi\"").endpoint("tmp", "\"1Mi\"").start();
    let endpoint = daemon.deploy_fake("m", Script::echo().infer(Infer::EatMemory), &[]);
    let error = daemon.send(&endpoint.echo_request(1)).error(502);
    assert!(error.contains("out of memory") && error.contains("64 MiB"), "{error}");
    until_true("status shows it", || {
        endpoint.status()["last_failure"].as_str().is_some_and(|failure| failure.contains("out of memory"))
    });
    endpoint.play(Script::echo());
    endpoint.check_echo(2);
}

pub(crate) fn an_answer_that_breaks_off_is_seen_to(round: Round) {
    let daemon = fake().in_round(round).start();
    let endpoint = daemon.deploy_fake("m", Script::echo().infer(Infer::BreakOff), &[]);
    let mut connection = Connection::to(daemon.address());
    assert!(connection.try_send(&endpoint.echo_request(1)).is_err(), "the answer is not whole, and looks so");
    endpoint.play(Script::echo());
    endpoint.check_echo(2);
}

pub(crate) fn all_requests_of_a_dead_replica_fail_at_once(round: Round) {
    let daemon = fake().in_round(round).endpoint("max_replicas", "1").start();
    let endpoint = daemon.deploy_fake("m", Script::echo().infer(Infer::Hold), &[]);
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..4)
            .map(|n| {
                scope.spawn({
                    let endpoint = &endpoint;
                    move || endpoint.daemon.send(&endpoint.echo_request(n))
                })
            })
            .collect();
        endpoint.until_leases(4);
        kill(endpoint.processes()[0], Signal::KILL);
        for answer in running {
            let error = answer.join().unwrap().error(502);
            assert!(error.contains("killed by signal 9"), "{error}");
        }
    });
    endpoint.play(Script::echo());
    endpoint.check_echo(1);
}

pub(crate) fn failing_starts_back_off_longer_each_time(round: Round) {
    let daemon = fake().in_round(round).set("endpoint.crash_back_off", "first", "\"1s\"").start();
    let endpoint = daemon.deploy_fake("m", Script::echo(), &[]);
    endpoint.play(Script::echo().load(Load::Fail));
    // A worker says why; what an image says is in its log.
    let cause = if round == Round::Image { "exited with status 1" } else { "the script says no" };
    let refused = daemon.send(&endpoint.echo_request(1));
    assert!(refused.error(503).contains(cause), "{}", refused.text());
    let _ = refused.retry_after();
    until_true("the log says why", || {
        round != Round::Image || daemon.cli(&["logs", "m"]).ok().stdout.contains("the script says no")
    });
    // While it is held off nothing is started, and the cause is told.
    let held = daemon.send(&endpoint.echo_request(1));
    assert!(held.error(503).contains(cause), "{}", held.text());
    let _ = held.retry_after();
    assert_eq!(daemon.get(&endpoint.path("/ready")).status, 503);

    endpoint.play(Script::echo().load(Load::Exit { code: 4 }));
    let failed = until("the next try fails", || {
        Some(daemon.send(&endpoint.echo_request(1))).filter(|answer| answer.text().contains("status 4"))
    });
    assert!(failed.retry_after() >= 2, "doubled");
    endpoint.play(Script::echo());
    until_true("it is tried again", || daemon.send(&endpoint.echo_request(1)).status == 200);
    let metrics = daemon.metrics();
    assert!(metrics.sum("dormouse_starts_total", &["endpoint=\"m\"", "result=\"failed\""]) >= 2.0);
}

/// Each holds its requests until they are given up: what comes back unanswered forgives nothing.
pub(crate) fn those_that_answer_nothing_one_after_the_other_are_held_off(round: Round) {
    let daemon =
        fake().in_round(round).endpoint("timeout", "\"1s\"").set("endpoint.crash_back_off", "first", "\"30s\"");
    let daemon = daemon.start();
    let endpoint = daemon.deploy_fake("m", Script::echo(), &[]);
    endpoint.play(Script::echo().infer(Infer::Deaf));
    let cause = if round == Round::Image { "liveness probe: " } else { "answered nothing any more and was killed" };
    until_true("it is held off", || {
        let answer = daemon.send(&endpoint.echo_request(1));
        answer.status == 503 && answer.error(503).contains(cause)
    });
}

pub(crate) fn a_replica_that_ignores_sigterm_ends_all_the_same(round: Round) {
    let daemon = fake().in_round(round).start();
    let endpoint = daemon.deploy_fake("m", Script::echo().on_sigterm(OnSigterm::Ignore), &[]);
    endpoint.check_echo(1);
    let processes = endpoint.processes();
    endpoint.delete();
    assert!(processes.iter().all(|pid| !dormouse_tests::processes::lives(*pid)));
    assert!(endpoint.processes_and_makers().is_empty());
}

pub(crate) fn the_daemon_ends_with_replicas_that_ignore_sigterm(round: Round) {
    let daemon = fake().in_round(round).endpoint("max_replicas", "1").start();
    for name in ["a", "b"] {
        daemon.deploy_fake(name, Script::echo().on_sigterm(OnSigterm::Ignore), &[]).check_echo(1);
    }
    daemon.stop();
}

#[test]
fn a_container_that_is_killed_while_it_is_made_is_a_failed_start() {
    let daemon = fake().endpoint("start_deadline", "\"1h\"").start();
    let model = daemon.home().write("m.onnx", Script::echo().load(Load::Hold).to_model());
    let mut deploy = daemon.command(&["deploy", model.to_str().unwrap()]).stderr(Stdio::piped()).spawn().unwrap();
    // The first process of a replica is the one that makes its container.
    let endpoint = Endpoint::of(&daemon, "m");
    let maker = until("a container is being made", || endpoint.processes_and_makers().first().copied());
    kill(maker, Signal::KILL);
    until("the deploy fails", || deploy.try_wait().unwrap());
    let told = Told::of(&deploy.wait_with_output().unwrap(), "deploy".to_owned());
    let reason = told.failed(1);
    // Seen late, it was the payload already.
    assert!(["creating a replica failed", "killed by signal 9"].iter().any(|cause| reason.contains(cause)), "{reason}");
    until_true("nothing of it is left", || endpoint.processes_and_makers().is_empty());
}

pub(crate) fn minimum_replicas_come_back(round: Round) {
    let daemon = fake().in_round(round).endpoint("max_replicas", "2").start();
    let endpoint = daemon.deploy_fake("m", Script::echo(), &[("min-replicas", "1")]);
    endpoint.until_phases(&["ready"]);
    let first = endpoint.replicas().remove(0).id;
    endpoint.play(Script::echo().infer(Infer::Crash));
    let _ = daemon.send(&endpoint.echo_request(1)).error(502);
    endpoint.play(Script::echo());
    until_true("another took its place", || {
        endpoint.replicas().iter().any(|replica| replica.phase == "ready" && replica.id != first)
    });
}

//! Replicas that take no requests for a while.

use std::{fs, path::PathBuf, thread};

use dormouse_tests::{Endpoint, wait::until_true};

use super::{
    super::{ask, bring, deploy_script, to},
    script,
};
use crate::real;

/// Takes away the page that says that a replica takes requests.
const AWAY: &str = "mv /tmp/www/well /tmp/www/away";
/// Tells one replica from another.
const WHO: &str = "readlink /proc/self/ns/net";
/// Whether the page is there. As often as it takes for a start not to wait for the second look.
const COMMAND: &str =
    "for i in 1 2 3 4 5 6 7 8; do wget -q -O /dev/null 127.0.0.1:$PORT/well && exit; sleep 0.05; done; exit 3";

/// Looks by [`COMMAND`] after `first`.
fn by_command(first: &str, period_seconds: u32) -> String {
    format!(
        "readinessProbe: {{exec: {{command: [sh, -c, '{first}{COMMAND}']}}, periodSeconds: {period_seconds}, \
         timeoutSeconds: 10, failureThreshold: 1}}"
    )
}

/// Undoes [`AWAY`], where nobody can be asked to.
fn bring_back(endpoint: &Endpoint<'_>) {
    let www = endpoint.processes().into_iter().map(|pid| PathBuf::from(format!("/proc/{pid}/root/tmp/www")));
    let www = www.into_iter().find(|www| www.join("away").exists()).expect("a replica without its page");
    fs::rename(www.join("away"), www.join("well")).unwrap();
}

#[test]
fn of_two_replicas_the_one_that_is_not_ready_gets_no_request_until_it_is_again() {
    let daemon = real().endpoint("freeze_after", "\"10m\"").start();
    bring(&daemon);
    let probe = "readinessProbe: {httpGet: {path: /well}, periodSeconds: 1, timeoutSeconds: 10, failureThreshold: 1}";
    let hello = deploy_script(&daemon, "hello", &script(), &[("min-replicas", "2"), ("max-replicas", "2")], probe);
    hello.until_phases(&["ready", "ready"]);
    let first = ask(&daemon, "hello", &format!("{AWAY}; {WHO}"));
    let count = |phase: &str| hello.phases().iter().filter(|it| *it == phase).count();
    until_true("one is not ready", || count("unready") == 1);
    let cause = "readiness probe: GET /well on port 8080 was answered 404 Not Found, once";
    let told = daemon.cli(&["status", "hello"]).ok().stdout;
    assert!(told.contains("1 ready, 1 unready") && told.contains(cause), "{told}");
    let labels = ["endpoint=\"hello\"", "phase=\"unready\""];
    assert!((daemon.metrics().sum("dormouse_replicas", &labels) - 1.0).abs() < f64::EPSILON);
    for _ in 0..4 {
        assert_ne!(ask(&daemon, "hello", WHO), first);
    }
    bring_back(&hello);
    until_true("both are ready", || count("ready") == 2);
    assert_eq!(ask(&daemon, "hello", WHO), first);
    let log = || daemon.cli(&["logs", "hello"]).ok().stdout;
    until_true("it is in the log", || log().contains(cause) && log().contains("it takes requests again"));
}

#[test]
fn requests_are_held_while_the_only_replica_is_not_ready_and_those_under_way_go_on() {
    let daemon = real().endpoint("freeze_after", "\"10m\"").start();
    bring(&daemon);
    let hello = deploy_script(&daemon, "hello", &script(), &[], &by_command("", 1));
    let goes_on = format!("{AWAY}; until [ -e /tmp/www/well ]; do sleep 0.1; done; {WHO}");
    thread::scope(|scope| {
        let under_way = scope.spawn(|| ask(&daemon, "hello", &goes_on));
        until_true("it is not ready", || hello.phases() == ["unready"]);
        let cause = "readiness probe: the command of the probe ended with status 3, once";
        assert_eq!(hello.status()["replicas"][0]["unready"], cause);
        let log = || daemon.cli(&["logs", "hello"]).ok().stdout;
        until_true("it is in the log", || log().contains("dormouse: readiness probe: `sh -c for i in"));
        let held = scope.spawn(|| ask(&daemon, "hello", WHO));
        hello.until_waiters(1);
        bring_back(&hello);
        assert_eq!(held.join().unwrap(), under_way.join().unwrap());
    });
    assert_eq!(hello.phases(), ["ready"]);
}

#[test]
fn a_request_that_is_held_for_too_long_is_told_what_was_seen() {
    let daemon = real().endpoint("freeze_after", "\"10m\"").start();
    bring(&daemon);
    let settings = [("min-replicas", "1"), ("timeout", "3s")];
    let hello = deploy_script(&daemon, "hello", &script(), &settings, &by_command("", 1));
    hello.until_phases(&["ready"]);
    let _ = ask(&daemon, "hello", AWAY);
    hello.until_phases(&["unready"]);
    let late = daemon.send(&to("hello", "/"));
    let cause = "readiness probe: the command of the probe ended with status 3, once";
    assert_eq!(late.status, 504, "{}", late.text());
    assert!(late.text().contains(cause) && !late.text().contains("wget"), "{}", late.text());
    assert_eq!(hello.phases(), ["unready"], "it is neither ended nor replaced");
}

#[test]
fn one_that_sleeps_is_not_looked_at() {
    let daemon = real().endpoint("freeze_after", "\"10ms\"").start();
    bring(&daemon);
    let hello = deploy_script(&daemon, "hello", &script(), &[], &by_command("echo >>/tmp/looks; ", 3));
    let looks = |after: &str| ask(&daemon, "hello", &format!("{after}; wc -l </tmp/looks"));
    let before = looks(":");
    // Each time it is awake for less than a period.
    for _ in 0..3 {
        hello.until_phases(&["frozen"]);
        assert_eq!(looks("sleep 0.4"), before);
    }
    assert_ne!(looks("sleep 5"), before, "awake for a period and longer");
}

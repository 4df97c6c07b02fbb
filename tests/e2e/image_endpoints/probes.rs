//! Replicas that are looked at while they serve.

mod readiness;

use dormouse_tests::wait::until_true;
use rustix::process::{Pid, Signal, kill_process};

use super::{ASK, ask, bring, deploy_script, to, try_script};
use crate::real;

/// [`ASK`] with a page and a request that is never answered, from which on the page is not there.
fn script() -> String {
    let hang = r"printf '#!/bin/sh\nrm /tmp/www/well\nexec sleep 1000\n' >/tmp/www/cgi-bin/hang";
    let more = format!("echo well >/tmp/www/well\n{hang}\nchmod 755 /tmp/www/cgi-bin/hang\nexec httpd");
    ASK.replace("exec httpd", &more)
}

#[test]
fn a_replica_whose_liveness_probe_fails_is_replaced_and_the_cause_is_told() {
    let daemon = real().start();
    bring(&daemon);
    let probe = "livenessProbe: {httpGet: {path: /well}, periodSeconds: 1, timeoutSeconds: 10, failureThreshold: 2}";
    let hello = deploy_script(&daemon, "hello", &script(), &[("min-replicas", "1")], probe);
    assert_eq!(ask(&daemon, "hello", "echo fine").trim_end(), "fine");
    let first = hello.replicas()[0].id.clone();
    let under_way = daemon.send(&to("hello", "/cgi-bin/hang"));
    let cause = "liveness probe: GET /well on port 8080 was answered 404 Not Found, 2 times";
    assert_eq!(under_way.status, 502, "{}", under_way.text());
    assert!(under_way.text().contains(cause), "{}", under_way.text());
    until_true("it is told", || hello.status()["last_failure"].to_string().contains(cause));
    let log = daemon.cli(&["logs", "hello"]).ok().stdout;
    assert!(log.contains(&format!("{first} dormouse: {cause}")), "{log}");
    until_true("another takes its place", || {
        let replicas = hello.replicas();
        replicas.len() == 1 && replicas[0].id != first && replicas[0].phase == "ready"
    });
    assert_eq!(ask(&daemon, "hello", "cat /tmp/www/well").trim_end(), "well");
}

#[test]
fn a_replica_that_sleeps_is_not_looked_at() {
    let daemon = real().endpoint("freeze_after", "\"10ms\"").start();
    bring(&daemon);
    let probe = "livenessProbe: {httpGet: {path: /nothing}, periodSeconds: 6, failureThreshold: 1}";
    let hello = deploy_script(&daemon, "hello", &script(), &[], probe);
    assert_eq!(ask(&daemon, "hello", "echo fine").trim_end(), "fine");
    hello.until_phases(&["frozen"]);
    let first = hello.replicas()[0].id.clone();
    // Each time it is awake for less than a period.
    for _ in 0..3 {
        assert_eq!(ask(&daemon, "hello", "sleep 0.5; echo fine").trim_end(), "fine");
        hello.until_phases(&["frozen"]);
    }
    assert_eq!(hello.replicas()[0].id, first);
    assert_eq!(daemon.send(&to("hello", "/cgi-bin/hang")).status, 502, "awake for a period and longer");
}

#[test]
fn one_that_would_sleep_between_two_failures_is_ended_for_them() {
    let daemon = real().endpoint("freeze_after", "\"5s\"").start();
    bring(&daemon);
    // It is looked at before it would be frozen, and ended long after that.
    let probe = "livenessProbe: {httpGet: {path: /well}, periodSeconds: 1, timeoutSeconds: 10, failureThreshold: 8}";
    let hello = deploy_script(&daemon, "hello", &script(), &[], probe);
    assert_eq!(ask(&daemon, "hello", "rm /tmp/www/well; echo gone").trim_end(), "gone");
    until_true("it is ended", || hello.status()["last_failure"].to_string().contains("404 Not Found, 8 times"));
}

#[test]
fn requests_wait_until_it_has_started_is_ready_and_listens() {
    let daemon = real().start();
    bring(&daemon);
    let late = script().replace("exec httpd", "(sleep 0.2; touch /tmp/begun) & sleep 0.5; exec httpd");
    let probes = "startupProbe: {exec: {command: [test, -e, /tmp/begun]}, failureThreshold: 10}\n\
                  readinessProbe: {exec: {command: ['true']}}";
    let hello = deploy_script(&daemon, "hello", &late, &[("zero-after", "10ms")], probes);
    assert_eq!(ask(&daemon, "hello", "ls /tmp/begun").trim_end(), "/tmp/begun");
    hello.until_phases(&[]);
    assert_eq!(ask(&daemon, "hello", "echo fine").trim_end(), "fine", "as whenever it is woken");
}

/// As Kubernetes' own example has it: a file says that it is well.
const COMMANDS: &str = "readinessProbe: {exec: {command: [cat, /tmp/www/well]}}\n\
                        livenessProbe: {exec: {command: [sh, -c, 'cat well || exit 4']}, periodSeconds: 1, timeoutSeconds: 10, failureThreshold: 2}\n\
                        workingDir: /tmp/www";

#[test]
fn commands_say_whether_a_replica_takes_requests_and_whether_it_still_does() {
    let daemon = real().endpoint("freeze_after", "\"10m\"").start();
    bring(&daemon);
    let late = script().replace("echo well", "(sleep 0.3; echo well").replace("www/well\n", "www/well) &\n");
    let hello = deploy_script(&daemon, "hello", &late, &[], COMMANDS);
    assert_eq!(ask(&daemon, "hello", "cat /tmp/www/well").trim_end(), "well", "it listened before");
    let serving = || hello.replicas().into_iter().find(|replica| replica.phase == "ready").unwrap().id;
    let first = serving();
    let node = daemon.node_pid();
    kill_process(Pid::from_raw(node).unwrap(), Signal::KILL).unwrap();
    until_true("another node serves", || daemon.node_pid() != node && daemon.listens());
    assert_eq!(ask(&daemon, "hello", "hostname").trim_end(), "hello");
    assert_eq!(serving(), first, "the new node looks at the one that is there");
    let under_way = daemon.send(&to("hello", "/cgi-bin/hang"));
    let cause = "liveness probe: the command of the probe ended with status 4, 2 times";
    assert_eq!(under_way.status, 502, "{}", under_way.text());
    assert!(under_way.text().contains(cause) && !under_way.text().contains("cat"), "{}", under_way.text());
    // What it is given and what it printed are for who may read the log.
    let in_full = "liveness probe: `sh -c cat well || exit 4` ended with status 4: cat: can't open 'well': No such file or \
                   directory, 2 times";
    let log = || daemon.cli(&["logs", "hello"]).ok().stdout;
    until_true("it is in the log", || log().contains(&format!("{first} dormouse: {in_full}")));
    assert_eq!(ask(&daemon, "hello", "cat /tmp/www/well").trim_end(), "well");
    assert_ne!(serving(), first);
}

#[test]
fn what_a_command_saw_is_told_where_a_replica_is_never_ready() {
    let daemon = real().start();
    bring(&daemon);
    let refused = |command: &str| {
        let probe = format!("readinessProbe: {{exec: {{command: {command}}}}}");
        try_script(&daemon, "hello", ASK, &[("start-deadline", "6s")], &probe).failed(1)
    };
    let never = refused("[sh, -c, 'echo not yet; exit 1']");
    assert!(
        never.contains("took no requests within 6 s: `sh -c echo not yet; exit 1` ended with status 1: not yet"),
        "{never}"
    );
    let missing = refused("[healthy]");
    assert!(
        missing.contains("`healthy` ended with status 127: dormouse: `healthy` is not in the image's PATH"),
        "{missing}"
    );
    let slow = refused("[sleep, '1000']");
    assert!(slow.contains("`sleep 1000` did not end within 1000 ms"), "{slow}");
}

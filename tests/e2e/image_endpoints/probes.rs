//! Replicas that are looked at while they serve.

use dormouse_tests::wait::until_true;

use super::{ASK, ask, bring, deploy_script, to};
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
    let probe = "livenessProbe: {httpGet: {path: /well}, periodSeconds: 1, failureThreshold: 2}";
    let hello = deploy_script(&daemon, "hello", &script(), &[("min-replicas", "1")], probe);
    assert_eq!(ask(&daemon, "hello", "echo fine").trim_end(), "fine");
    let first = hello.replicas()[0].id.clone();
    let under_way = daemon.send(&to("hello", "/cgi-bin/hang"));
    let cause = "liveness probe: GET /well on port 8080 was answered 404 Not Found, 2 times";
    assert_eq!(under_way.status, 502, "{}", under_way.text());
    assert!(under_way.text().contains(cause), "{}", under_way.text());
    let failure = hello.status()["last_failure"].to_string();
    assert!(failure.contains(cause), "{failure}");
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
    let probe = "livenessProbe: {httpGet: {path: /nothing}, periodSeconds: 1, failureThreshold: 1}";
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

//! Images that do not serve, or do too much: each has its own answer, and no neighbour notices.

use dormouse_tests::{Daemon, wait::until_true};

use super::{ASK, IMAGE, ask, bring, deploy_as_it_is, deploy_script, serves, to, try_script};
use crate::real;

/// Why a script is no endpoint.
#[track_caller]
fn refused(daemon: &Daemon, name: &str, script: &str) -> String {
    try_script(daemon, name, script, &[("start-deadline", "2s")], "").failed(1)
}

#[test]
fn what_does_not_come_to_serve_is_refused_with_its_cause_and_what_served_serves_on() {
    let daemon = real().start();
    deploy_as_it_is(&daemon, "hello");
    let silent = refused(&daemon, "hello", "exec sleep 1000");
    assert!(silent.contains("took no requests within 2 s: nothing listens on port 8080"), "{silent}");
    let failing = refused(&daemon, "hello", "echo no license >&2; exit 3");
    assert!(failing.contains("ended before it took requests") && failing.contains('3'), "{failing}");
    assert!(daemon.cli(&["logs", "hello"]).ok().stdout.contains("no license"));
    let killed = refused(&daemon, "hello", "kill -9 $$");
    // The first process of a container cannot kill itself so.
    assert!(killed.contains("ended before") || killed.contains("took no requests"), "{killed}");
    serves(&daemon, "hello");
    assert_eq!(daemon.status("hello")["revision"], 1);
}

#[test]
fn an_image_without_a_program_and_one_with_a_program_that_is_not_there_say_so() {
    let daemon = real().start();
    bring(&daemon);
    let missing = daemon.home().write(
        "missing.yaml",
        super::pod("missing", "", &[], "").replace("[/bin/sh, -c, \"\"]", "[nothing-of-this-name]"),
    );
    let told = daemon.cli(&["deploy", "-f", missing.to_str().unwrap()]).failed(1);
    assert!(told.contains("ended before it took requests"), "{told}");
    let log = daemon.cli(&["logs", "missing"]).ok().stdout;
    assert!(log.contains("nothing-of-this-name"), "{log}");
    let unknown = daemon.cli(&["deploy", "127.0.0.1:1/nothing:1"]).failed(1);
    assert!(unknown.contains("127.0.0.1:1"), "{unknown}");
    let seen = daemon.status("nothing")["last_failure"].to_string();
    assert!(seen.contains("pulling it failed") && seen.contains("127.0.0.1:1"), "{seen}");
    let called = daemon.send(&to("nothing", "/"));
    assert!(
        called.status == 503 && called.text().contains("pulling it failed"),
        "{}: {}",
        called.status,
        called.text()
    );
    let nobody = try_script(&daemon, "nobody", ASK, &[], "securityContext: {runAsUser: 70000}").failed(1);
    assert!(nobody.contains("70000"), "{nobody}");
}

#[test]
fn one_that_listens_late_is_waited_for() {
    let daemon = real().endpoint("zero_after", "\"10ms\"").endpoint("freeze_after", "\"1ms\"").start();
    bring(&daemon);
    let hello = deploy_script(&daemon, "hello", &format!("sleep 1\n{ASK}"), &[], "");
    hello.until_phases(&[]);
    assert_eq!(ask(&daemon, "hello", "echo late").trim_end(), "late");
}

#[test]
fn what_is_filled_or_flooded_is_the_replicas_own() {
    let daemon = real().start();
    deploy_as_it_is(&daemon, "neighbour");
    serves(&daemon, "neighbour");
    let greedy = deploy_script(&daemon, "greedy", ASK, &[("tmp", "8Mi"), ("memory", "64Mi"), ("pids", "32")], "");
    let full = ask(&daemon, "greedy", "dd if=/dev/zero of=/www/big bs=1M count=64 2>&1; rm /www/big; echo after");
    assert!(full.contains("No space left") && full.contains("after"), "{full}");
    serves(&daemon, "neighbour");
    let flood = ask(&daemon, "greedy", "yes 'a line of a flood' | head -c 30000000 >/proc/1/fd/1; echo after");
    assert_eq!(flood.trim_end(), "after");
    let kept = daemon.cli(&["logs", "greedy"]).ok().stdout;
    assert!(kept.len() < 25_000_000, "logs are bounded: {}", kept.len());
    // Its memory is what it was given, and its end is told.
    let bomb = daemon.send(&to("greedy", "/cgi-bin/ask?tail%20%2fdev%2fzero"));
    assert!([200, 502].contains(&bomb.status), "{}", bomb.status);
    until_true("what it did is over", || {
        let told = greedy.status()["last_failure"].to_string();
        bomb.status == 200 || told.contains("memory")
    });
    serves(&daemon, "neighbour");
}

#[test]
fn settings_that_are_for_models_are_refused_with_an_image_and_the_other_way_round() {
    let daemon = real().start();
    bring(&daemon);
    let told = daemon.cli(&["deploy", IMAGE, "--name", "hello", "--sample", "x.json"]).failed(2);
    assert!(told.contains("--sample is for one model"), "{told}");
    let model = daemon.home().write("model.onnx", "");
    let told = daemon.cli(&["deploy", model.to_str().unwrap(), "--port", "80"]).failed(2);
    assert!(told.contains("are for images"), "{told}");
    let told = daemon.cli(&["deploy", IMAGE, "--name", "hello", "--env", "NOTHING"]).code;
    assert_eq!(told, Some(2));
}

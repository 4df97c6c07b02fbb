//! Replicas that are forked from a template which has the model loaded, and what becomes of them when one
//! of the two dies.

use std::thread;

use dormouse_tests::{
    Endpoint, Home, Round, Script,
    processes::{kill, lives},
    script::Infer,
    wait::{until, until_true},
};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{fake, real, silero};

fn with_templates(home: Home) -> Home {
    home.in_round(Round::Created)
        .endpoint("keep_template", "\"1m\"")
        .endpoint("max_replicas", "3")
        .endpoint("container_concurrency", "1")
}

/// The templates that hold memory, as `status --json` lists them.
fn templates(endpoint: &Endpoint<'_>) -> Vec<Value> {
    endpoint.status()["templates"].as_array().unwrap().clone()
}

/// The id of the only template, which is ready.
fn template(endpoint: &Endpoint<'_>) -> String {
    until_true("one template is ready", || {
        let all = templates(endpoint);
        all.len() == 1 && all[0]["phase"] == "ready"
    });
    templates(endpoint)[0]["id"].as_str().unwrap().to_owned()
}

/// The process of a template, or of a replica that was forked from it, once what made it has left.
fn process(endpoint: &Endpoint<'_>, id: &str) -> i32 {
    let only = |processes: std::collections::BTreeSet<i32>| processes.first().copied().filter(|_| processes.len() == 1);
    until("it has one process", || {
        let status = endpoint.status();
        let all =
            ["replicas", "templates"].into_iter().flat_map(|kind| status[kind].as_array().cloned().unwrap_or_default());
        let found = all.into_iter().find(|it| it["id"] == id)?;
        only(dormouse_tests::processes::of_group(endpoint.daemon.instance(), found["control_group"].as_str()?))
    })
}

fn rungs(endpoint: &Endpoint<'_>) -> Vec<String> {
    let wakes = endpoint.daemon.cli(&["why", &endpoint.name, "--json"]).json();
    wakes.as_array().unwrap().iter().map(|wake| wake["rung"].as_str().unwrap().to_owned()).collect()
}

/// As many requests at once as there can be replicas, so that each has one of its own.
fn call_at_once(endpoint: &Endpoint<'_>, requests: i64) {
    thread::scope(|scope| {
        for number in 0..requests {
            scope.spawn(move || endpoint.check_echo(number));
        }
    });
}

#[test]
fn replicas_are_forked_from_one_template_and_answer_as_any() {
    let daemon = with_templates(real()).start();
    let forked = daemon.deploy("forked", &silero::model());
    let plain = daemon.deploy_with("plain", &silero::model(), &[("keep-template", "0s")]);
    let answers = [&forked, &plain].map(|endpoint| endpoint.infer(&silero::request()).ok().json()["outputs"].clone());
    assert_eq!(answers[0], answers[1], "to the last bit");
    until_true("the wake is written down", || rungs(&forked) == ["forked"]);
    let template = template(&forked);
    let status = daemon.cli(&["status", "forked"]).ok().stdout;
    assert!(status.contains("ready, 1 replica forked") && status.contains(&template), "{status}");
    let why = daemon.cli(&["why", "forked"]).ok().stdout;
    assert!(why.contains("forked") && why.contains("template"), "{why}");
    assert_eq!(templates(&plain), [] as [Value; 0]);
    daemon.stop();
}

#[test]
fn what_cannot_be_forked_loads_for_itself_and_says_why() {
    let daemon = with_templates(real()).set("node", "prepare_models", "false").start();
    let endpoint = daemon.deploy("vad", &silero::model());
    silero::call(&endpoint);
    let status = daemon.cli(&["status", "vad"]).ok().stdout;
    assert!(status.contains("no (its model is not prepared"), "{status}");
    until_true("the wake is written down", || rungs(&endpoint) == ["created"]);
    daemon.stop();

    let daemon = with_templates(real()).endpoint("intra_op_threads", "2").start();
    let endpoint = daemon.deploy("vad", &silero::model());
    silero::call(&endpoint);
    let status = daemon.cli(&["status", "vad"]).ok().stdout;
    assert!(status.contains("no (2 intra-op threads)"), "{status}");
    daemon.stop();
}

#[test]
fn a_crashed_replica_is_forked_again_from_the_template_that_lives() {
    let daemon = with_templates(fake()).start();
    let endpoint = daemon.deploy_fake("m", Script::echo(), &[]);
    endpoint.check_echo(1);
    let id = template(&endpoint);
    let before = process(&endpoint, &id);
    let victim = process(&endpoint, &endpoint.replicas()[0].id);
    kill(victim, Signal::ABORT);
    until_true("its death is told", || endpoint.status()["last_failure"].to_string().contains("signal 6"));
    endpoint.check_echo(2);
    until_true("the wakes are written down", || rungs(&endpoint) == ["forked", "forked"]);
    assert_eq!((template(&endpoint), process(&endpoint, &id)), (id, before), "the same process");
    assert!(!lives(victim));
}

#[test]
fn a_request_that_a_dying_replica_held_gets_502_and_its_siblings_go_on() {
    let daemon = with_templates(fake()).start();
    let endpoint = daemon.deploy_fake("m", Script::echo().infer(Infer::Hold), &[]);
    thread::scope(|scope| {
        let running: Vec<_> = (0..2)
            .map(|number| {
                let endpoint = &endpoint;
                scope.spawn(move || endpoint.daemon.send(&endpoint.echo_request(number)))
            })
            .collect();
        endpoint.until_leases(2);
        kill(process(&endpoint, &endpoint.replicas()[0].id), Signal::KILL);
        until_true("one has its answer", || running.iter().any(thread::ScopedJoinHandle::is_finished));
        endpoint.play(Script::echo());
        let mut statuses: Vec<_> = running.into_iter().map(|asked| asked.join().unwrap().status).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 502]);
    });
}

#[test]
fn a_killed_template_costs_the_requests_of_its_replicas_and_no_other() {
    let daemon = with_templates(fake()).start();
    let endpoint = daemon.deploy_fake("m", Script::echo().infer(Infer::Hold), &[]);
    let id = thread::scope(|scope| {
        let asked = scope.spawn(|| daemon.send(&endpoint.echo_request(1)));
        endpoint.until_leases(1);
        let id = template(&endpoint);
        kill(process(&endpoint, &id), Signal::KILL);
        let error = asked.join().unwrap().error(502);
        assert!(error.contains("the template that it was forked from ended"), "{error}");
        id
    });
    endpoint.play(Script::echo());
    endpoint.check_echo(2);
    until_true("nothing is left of the template", || templates(&endpoint).iter().all(|it| it["id"] != id.as_str()));
    let status = daemon.cli(&["status", "m"]).ok().stdout;
    assert!(status.contains("none for a while"), "{status}");
}

/// Whatever it dies of while a request waits for it, the request is answered.
#[test]
fn a_template_that_dies_before_it_is_ready_costs_no_request() {
    let daemon = with_templates(fake()).start();
    let endpoint = daemon.deploy_fake("m", Script::echo(), &[]);
    endpoint.play(Script { load: dormouse_tests::script::Load::Hold, ..Script::echo() });
    thread::scope(|scope| {
        let asked = scope.spawn(|| endpoint.check_echo(1));
        until_true("a template loads", || templates(&endpoint).iter().any(|it| it["phase"] == "starting"));
        let loading = templates(&endpoint)[0]["id"].as_str().unwrap().to_owned();
        let process = process(&endpoint, &loading);
        endpoint.play(Script::echo());
        kill(process, Signal::KILL);
        asked.join().unwrap();
    });
}

#[test]
fn many_replicas_come_from_one_template_and_rest_before_it() {
    let daemon = with_templates(fake())
        .endpoint("freeze_after", "\"50ms\"")
        .endpoint("zero_after", "\"150ms\"")
        .endpoint("keep_template", "\"3s\"")
        .start();
    let endpoint = daemon.deploy_fake("m", Script::echo(), &[]);
    call_at_once(&endpoint, 3);
    let id = template(&endpoint);
    endpoint.until_phases(&[]);
    assert_eq!(template(&endpoint), id, "only the template is left");
    endpoint.check_echo(4);
    assert_eq!(template(&endpoint), id);
    until_true("it has been alone for long enough", || templates(&endpoint).is_empty());
    until_true("nothing runs", || endpoint.processes_and_makers().is_empty());
    endpoint.check_echo(5);
    assert_ne!(template(&endpoint), id);
}

#[test]
fn three_signals_in_a_minute_are_enough_of_one_template() {
    let daemon = with_templates(fake()).start();
    let endpoint = daemon.deploy_fake("m", Script::echo(), &[]);
    endpoint.check_echo(0);
    let first = template(&endpoint);
    for number in 1..=3 {
        until_true("a replica is ready", || endpoint.phases().contains(&"ready".to_owned()));
        kill(process(&endpoint, &endpoint.replicas()[0].id), Signal::KILL);
        until_true("it is gone", || endpoint.replicas().is_empty());
        until_true("the next request is served", || {
            endpoint.infer(&dormouse_tests::endpoint::echo_body(number)).status == 200
        });
    }
    until_true("another template serves", || {
        let all = templates(&endpoint);
        all.len() == 1 && all[0]["id"] != first.as_str() && all[0]["phase"] == "ready"
    });
}

#[test]
fn a_new_node_adopts_template_and_replicas() {
    let daemon = with_templates(fake()).start();
    let endpoint = daemon.deploy_fake("m", Script::echo(), &[]);
    call_at_once(&endpoint, 2);
    let (id, before) = (template(&endpoint), endpoint.replicas());
    kill(daemon.node_pid(), Signal::KILL);
    until_true("they are adopted", || {
        let mut replicas = endpoint.replicas();
        let mut expected = before.clone();
        replicas.sort_by(|one, other| one.id.cmp(&other.id));
        expected.sort_by(|one, other| one.id.cmp(&other.id));
        replicas.iter().map(|it| &it.id).eq(expected.iter().map(|it| &it.id))
    });
    assert_eq!(template(&endpoint), id);
    assert_eq!(templates(&endpoint)[0]["forks"], json!(before.len()));
    endpoint.check_echo(3);
    endpoint.delete();
    assert_eq!(endpoint.processes(), [] as [i32; 0]);
}

#[test]
fn a_new_revision_has_a_template_of_its_own() {
    let daemon = with_templates(fake()).start();
    let endpoint = daemon.deploy_fake("m", Script::echo(), &[]);
    endpoint.check_echo(1);
    let first = template(&endpoint);
    let endpoint = daemon.deploy_fake("m", Script::echo().salt("another"), &[]);
    endpoint.check_echo(2);
    until_true("the old one is gone", || templates(&endpoint).iter().all(|it| it["id"] != first.as_str()));
    assert_ne!(template(&endpoint), first);
}

/// A template takes memory that is free, and gives it back to whoever is short of it.
#[test]
fn a_template_never_takes_what_a_replica_needs() {
    let daemon = with_templates(fake())
        .set("node", "memory_budget", "\"1000Mi\"")
        .endpoint("memory", "\"300Mi\"")
        .endpoint("max_replicas", "1")
        .start();
    let [a, b, c] = ["a", "b", "c"].map(|name| daemon.deploy_fake(name, Script::echo().salt(name), &[]));
    a.check_echo(1);
    let _ = template(&a);
    b.check_echo(2);
    // 1,000 MiB are three of 300: a's replica, its template, and b's replica, which has no template.
    assert_eq!(templates(&b), [] as [Value; 0]);
    c.check_echo(3);
}

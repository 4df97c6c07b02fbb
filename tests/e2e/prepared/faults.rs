//! A preparation fails: the deploy says so, nothing half-written is used, nothing is left over.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Stdio},
};

use dormouse_tests::{
    Daemon, Endpoint, Round, Script, SmallDisk, paths, processes,
    script::{ASKED_TO_PREPARE, Prepare},
    wait::{until, until_true},
};
use rustix::process::Signal;

use super::{preparation, reason, stored};
use crate::{fake, real};

/// What a model may take in these tests; few, so that one that eats memory is ended soon.
const LITTLE_MEMORY: (&str, &str) = ("memory", "64Mi");

#[test]
fn whatever_the_replica_does_the_original_serves_and_status_says_why() {
    let daemon = fake().start();
    for (number, (prepare, told)) in [
        (Prepare::Refuse, "the script is not prepared"),
        (Prepare::Crash, "the replica that was to do it ended: crashed: killed by signal"),
        (Prepare::EatMemory, "the replica that was to do it ended: out of memory"),
        (Prepare::BreakOff, "did not arrive whole"),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("m{number}");
        let endpoint = daemon.deploy_fake(&name, Script::echo().prepare(prepare), &[LITTLE_MEMORY]);
        let reason = reason(&endpoint);
        assert!(reason.contains(told), "{prepare:?}: {reason}");
        assert_eq!(stored(&daemon.home().data()), [""; 0], "{prepare:?}");
        endpoint.check_echo(1);
    }
    assert_eq!(daemon.metrics().sum("dormouse_preparations_total", &["result=\"failed\""]), 4.0);
    for number in 0..4 {
        let endpoint = Endpoint::of(&daemon, &format!("m{number}"));
        until_true("only what serves runs", || endpoint.processes().len() == 1);
    }
}

#[test]
fn a_budget_that_cannot_hold_a_preparation_is_named() {
    let daemon = fake().in_round(Round::Created).set("node", "memory_budget", "\"128Mi\"").start();
    let endpoint = daemon.deploy_fake("m", Script::echo(), &[LITTLE_MEMORY]);
    let reason = reason(&endpoint);
    assert!(reason.contains("of memory are needed for it") && reason.contains("128Mi"), "{reason}");
    endpoint.check_echo(1);
}

/// Nobody's replica ends for a preparation.
#[test]
fn memory_that_others_hold_is_left_to_them() {
    let daemon = fake().set("node", "memory_budget", "\"512Mi\"").start();
    let idle = daemon.deploy_fake("idle", Script::echo(), &[("memory", "300Mi"), ("freeze-after", "1ms")]);
    idle.check_echo(1);
    idle.until_phases(&["frozen"]);
    let endpoint = daemon.deploy_fake("m", Script::echo().salt("other"), &[LITTLE_MEMORY]);
    let reason = reason(&endpoint);
    assert!(reason.contains("of memory are short"), "{reason}");
    assert_eq!(idle.phases(), ["frozen"]);
}

#[test]
fn a_disk_that_cannot_hold_it_is_named() {
    let home = real();
    // Room for the model, which leaves what is kept free for state and a little more.
    let _disk = SmallDisk::at(&home.data(), "size=69m");
    let daemon = home.start();
    let endpoint = daemon.deploy("m", &paths::model("magika.onnx"));
    let reason = reason(&endpoint);
    assert!(reason.contains("cannot be stored") && reason.contains("too full"), "{reason}");
    assert_eq!(stored(&daemon.home().data()), [""; 0]);
    let _ = daemon.cli(&["infer", "m"]).ok();
}

/// A deploy whose model is being prepared at this moment, which does not end.
fn held_deploy(daemon: &Daemon, name: &str) -> Child {
    let script = Script::echo().prepare(Prepare::Hold).salt("held");
    let model = daemon.home().write("held.onnx", script.to_model());
    let asked = || daemon.cli(&["logs", name]).stdout.matches(ASKED_TO_PREPARE).count();
    let before = asked();
    let mut command = daemon.command(&["deploy", model.to_str().unwrap(), "--name", name]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let began = lines.by_ref().any(|line| line.unwrap().contains("preparing"));
    assert!(began, "the deploy ended before");
    // Read to its end, so that the deploy is not ended by what it has to say.
    std::thread::spawn(move || lines.for_each(drop));
    until_true("it is being prepared", || asked() > before);
    child
}

#[test]
fn a_preparation_that_is_killed_half_way_leaves_the_original() {
    let daemon = fake().start();
    let mut deploy = held_deploy(&daemon, "m");
    let endpoint = Endpoint::of(&daemon, "m");
    let ended = until("the deploy goes on", || {
        for pid in endpoint.processes() {
            if processes::lives(pid) {
                // It may end by itself in between.
                let _ = rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), Signal::KILL);
            }
        }
        deploy.try_wait().unwrap()
    });
    assert!(ended.success());
    let reason = reason(&endpoint);
    assert!(reason.contains("killed by signal 9"), "{reason}");
    assert_eq!(stored(&daemon.home().data()), [""; 0]);
    endpoint.check_echo(1);
}

#[test]
fn a_node_that_dies_during_a_preparation_leaves_what_was_deployed_before() {
    let daemon = fake().start();
    let endpoint = daemon.deploy_fake("m", Script::echo(), &[]);
    endpoint.check_echo(1);
    let (serving, before) = (endpoint.processes(), stored(&daemon.home().data()));
    let mut deploy = held_deploy(&daemon, "m");
    assert!(endpoint.processes().len() > serving.len());

    let node = daemon.node_pid();
    processes::kill(node, Signal::KILL);
    assert!(!until("the deploy fails", || deploy.try_wait().unwrap()).success());
    until("another node", || processes::child(daemon.pid(), "node").filter(|pid| *pid != node));
    until_true("it is ended", || endpoint.processes() == serving);
    assert_eq!((&endpoint.status()["revision"], &preparation(&endpoint)["outcome"]), (&1.into(), &"prepared".into()));
    assert_eq!(stored(&daemon.home().data()), before);
    endpoint.check_echo(2);
}

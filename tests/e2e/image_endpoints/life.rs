//! What outlives what.

use dormouse_tests::{Endpoint, wait::until_true};
use rustix::process::{Pid, Signal, kill_process};

use super::{ASK, IMAGE, ask, bring, deploy_as_it_is, deploy_script, serves};
use crate::real;

#[test]
fn what_an_endpoint_runs_stays_whatever_becomes_of_the_name() {
    let daemon = real().start();
    deploy_as_it_is(&daemon, "hello");
    let unpacked = || std::fs::read_dir(daemon.home().data().join("layers")).unwrap().count();
    let layers = unpacked();
    assert_eq!(daemon.cli(&["image", "prune", "--json"]).json()["images"].as_array().map(Vec::len), Some(0));
    let _ = daemon.cli(&["image", "rm", IMAGE]).ok();
    assert_eq!(unpacked(), layers, "an endpoint runs them");
    serves(&daemon, "hello");
    let daemon = daemon.restart();
    serves(&daemon, "hello");
    Endpoint::of(&daemon, "hello").delete();
    let left = || {
        std::fs::read_dir(daemon.home().data().join("layers"))
            .unwrap()
            .flatten()
            .map(|it| it.file_name())
            .filter(|name| name.to_string_lossy().starts_with("sha256-"))
            .count()
    };
    until_true("nothing needs the layers any more", || left() == 0);
}

#[test]
fn replicas_outlive_the_node_process() {
    let daemon = real().endpoint("freeze_after", "\"10m\"").start();
    let hello = deploy_as_it_is(&daemon, "hello");
    serves(&daemon, "hello");
    let processes = hello.processes();
    let node = daemon.node_pid();
    kill_process(Pid::from_raw(node).unwrap(), Signal::KILL).unwrap();
    until_true("another node serves", || daemon.node_pid() != node && daemon.listens());
    serves(&daemon, "hello");
    assert_eq!(hello.processes(), processes);
    hello.until_phases(&["ready"]);
}

#[test]
fn what_was_written_ends_with_its_replica_and_the_next_revision_takes_over() {
    let daemon = real().endpoint("freeze_after", "\"10m\"").start();
    bring(&daemon);
    let hello = deploy_script(&daemon, "hello", ASK, &[], "");
    assert_eq!(ask(&daemon, "hello", "echo mine >/www/index.html; cat /www/index.html").trim_end(), "mine");
    let replica = hello.replicas()[0].id.clone();
    deploy_script(&daemon, "hello", &format!(": anew\n{ASK}"), &[], "");
    assert_eq!(
        ask(&daemon, "hello", "cat /www/index.html; echo $K_REVISION").trim_end(),
        "busybox serves this\nhello-00002"
    );
    until_true("the old one is gone", || hello.replicas().iter().all(|it| it.id != replica));
}

#[test]
fn a_process_that_ends_by_its_signal_is_not_waited_for_and_one_that_ignores_it_is_killed() {
    let daemon = real().endpoint("drain_deadline", "\"1s\"").start();
    bring(&daemon);
    let polite = format!("trap 'exit 0' TERM\n({ASK}) &\nwait");
    let stubborn = format!("trap '' TERM\n{}", ASK.replace("exec httpd", "httpd"));
    for (name, script) in [("polite", polite), ("stubborn", stubborn)] {
        let endpoint = deploy_script(&daemon, name, &script, &[], "");
        assert_eq!(ask(&daemon, name, "echo fine").trim_end(), "fine");
        endpoint.delete();
        assert_eq!(endpoint.processes(), Vec::<i32>::new(), "{name}");
    }
}

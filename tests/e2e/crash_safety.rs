//! The daemon on a machine that is short of something: disk, a disk that can be written, descriptors.

use std::{fs, net::TcpStream};

use dormouse_tests::{
    Connection, Daemon, Endpoint, Request, Round, Script, SmallDisk,
    processes::{self, NoDescriptors},
    script::{Bomb, Infer},
    wait::{until, until_true},
};
use rustix::process::Signal;

use crate::fake;

/// Several times what a pipe holds: a replica whose log is not read could not print it.
const PRINTED: Infer = Infer::Print { lines: 500, bytes: 1_000 };

/// What a deploy of `name` that fails tells.
fn refused_deploy(daemon: &Daemon, name: &str) -> String {
    daemon.try_deploy_fake(name, &Script::echo().salt("of another revision"), 0, &[]).failed(1)
}

fn until_it_serves(endpoint: &Endpoint<'_>) {
    until_true(format!("{} serves again", endpoint.name), || {
        endpoint.daemon.send(&endpoint.echo_request(1)).status == 200
    });
}

fn names(daemon: &Daemon) -> Vec<String> {
    let listed = daemon.cli(&["ls", "--json"]).json();
    listed
        .as_array()
        .unwrap()
        .iter()
        .map(|endpoint| endpoint["endpoint"]["name"].as_str().unwrap().to_owned())
        .collect()
}

pub(crate) fn a_full_disk_refuses_deploys_and_nothing_else(round: Round) {
    let home = fake().in_round(round).endpoint("freeze_after", "\"1ms\"").endpoint("zero_after", "\"2ms\"");
    let disk = SmallDisk::at(&home.data(), "size=100m");
    let daemon = home.start();
    let kept = daemon.deploy_fake("kept", Script::echo(), &[]);
    let gone = daemon.deploy_fake("gone", Script::echo(), &[]);
    disk.fill();

    for name in ["kept", "new"] {
        let told = refused_deploy(&daemon, name);
        // Of an image nothing is stored but what was asked for.
        let told_of = match round {
            Round::Created | Round::Claimed | Round::Forked => ["too full", "/data/models"],
            Round::Image => ["No space left on device", "/data/endpoints"],
        };
        assert!(told_of.iter().all(|part| told.contains(part)), "{told}");
    }
    // From zero: a wake writes nothing there.
    kept.until_phases(&[]);
    kept.check_echo(1);
    assert_eq!(kept.status()["revision"], 1);
    gone.delete();
    assert!(!names(&daemon).contains(&"gone".to_owned()));

    let daemon = daemon.restart();
    let kept = Endpoint::of(&daemon, "kept");
    kept.check_echo(2);
    assert_eq!(names(&daemon), ["kept"]);
    disk.free();
    daemon.deploy_fake("new", Script::echo(), &[]).check_echo(3);
}

#[test]
fn what_is_on_a_read_only_disk_is_served() {
    let home = fake();
    let disk = SmallDisk::at(&home.data(), "size=200m");
    let daemon = home.start();
    let endpoint = daemon.deploy_fake("a", Script::echo(), &[]);
    endpoint.check_echo(1);

    disk.set_read_only(true);
    let check_read_only = |daemon: &Daemon| {
        let told = refused_deploy(daemon, "a");
        assert!(told.contains("/data/models/") && told.contains("Read-only file system"), "{told}");
        let told = daemon.cli(&["delete", "a"]).failed(1);
        assert!(told.contains("/data/endpoints/a.json") && told.contains("Read-only file system"), "{told}");
        Endpoint::of(daemon, "a").check_echo(2);
    };
    check_read_only(&daemon);
    let daemon = daemon.restart();
    check_read_only(&daemon);

    disk.set_read_only(false);
    // The daemon's own view of its mounts is as old as its start.
    let daemon = daemon.restart();
    Endpoint::of(&daemon, "a").delete();
    assert!(names(&daemon).is_empty());
}

/// What cannot be read now may be read another time: by the version that wrote it, on another disk.
#[test]
fn an_endpoint_that_cannot_be_read_keeps_its_state_and_its_model() {
    let daemon = fake().start();
    daemon.deploy_fake("a", Script::echo(), &[]).check_echo(1);
    let home = daemon.stop();
    let state = home.data().join("endpoints/a.json");
    let readable = fs::read_to_string(&state).unwrap();
    fs::write(&state, readable.replace("\"schema\": 1", "\"schema\": 99")).unwrap();

    let daemon = home.start_again();
    let failure = Endpoint::of(&daemon, "a").status()["last_failure"].as_str().unwrap().to_owned();
    assert!(failure.contains("schema 99") && failure.contains("/data/endpoints/a.json"), "{failure}");
    // After every deploy and delete, and at every start, models that nobody needs are deleted.
    daemon.deploy_fake("b", Script::echo(), &[]).delete();
    let daemon = daemon.restart();
    assert_eq!(names(&daemon), ["a"], "it is still shown");

    let home = daemon.stop();
    fs::write(&state, readable).unwrap();
    Endpoint::of(&home.start_again(), "a").check_echo(2);
}

/// The record of uids is a convenience: what it cannot take is said, and stops nobody.
#[test]
fn an_endpoint_whose_uid_cannot_be_recorded_is_served() {
    let home = fake();
    let disk = SmallDisk::at(&home.data(), "size=200m");
    let daemon = home.start();
    daemon.deploy_fake("a", Script::echo(), &[]).check_echo(1);
    let home = daemon.stop();
    fs::write(home.data().join("uids.json"), "{\"endpoints\": {\"a").unwrap();
    disk.set_read_only(true);
    let daemon = home.start_again();
    Endpoint::of(&daemon, "a").check_echo(2);
    let log = daemon.log();
    assert!(log.contains("reading the uid record") && log.contains("/data/uids.json"), "{log}");
    assert!(log.contains("writing the uid record") && log.contains("Read-only file system"), "{log}");
    disk.set_read_only(false);
}

pub(crate) fn a_full_run_directory_costs_new_replicas_only(round: Round) {
    let home = fake().in_round(round);
    let disk = SmallDisk::at(&home.run(), "size=20m,nr_inodes=300");
    let daemon = home.start();
    let running = daemon.deploy_fake("running", Script::echo(), &[]);
    running.check_echo(1);
    let at_zero = daemon.deploy_fake("at-zero", Script::echo(), &[]);
    at_zero.until_phases(&[]);
    // Of the replica that its deploy asked, too: a name that goes later makes room.
    until_true("its sockets are gone", || at_zero.replicas_with_sockets().is_empty());
    disk.fill_names();

    let answer = daemon.send(&at_zero.echo_request(1));
    let told = answer.text();
    // A process of an image is reached by its own port, which no name stands for.
    if round == Round::Image {
        assert_eq!(answer.status, 200, "{told}");
    } else {
        assert!(answer.status != 200 && told.contains("No space left on device"), "{told}");
        assert!(told.contains("/sockets/"), "{told}");
    }
    running.check_echo(2);
    disk.free();
    until_it_serves(&at_zero);
}

pub(crate) fn a_replica_whose_log_cannot_be_written_goes_on(round: Round) {
    let home = fake().in_round(round);
    let disk = SmallDisk::at(&home.run(), "size=4m");
    let daemon = home.start();
    let endpoint = daemon.deploy_fake("a", Script::echo().infer(PRINTED), &[]);
    endpoint.check_echo(1);
    disk.fill();
    (2..5).for_each(|data| endpoint.check_echo(data));
    until_true("that is told", || daemon.log().contains("writing its log failed"));

    disk.free();
    endpoint.check_echo(5);
    let told = daemon.log();
    assert!(told.matches("writing its log failed").count() < 10, "not for every line:\n{told}");
    let last = format!("{:01000}", 499);
    until_true("it can be read", || daemon.cli(&["logs", "a"]).ok().stdout.trim_end().ends_with(&last));
}

pub(crate) fn a_node_without_descriptors_answers_when_it_has_some(round: Round) {
    let daemon = fake().in_round(round).endpoint("freeze_after", "\"1h\"").start();
    let running = daemon.deploy_fake("running", Script::echo(), &[]);
    running.check_echo(1);
    let at_zero = daemon.deploy_fake("at-zero", Script::echo(), &[]);
    at_zero.until_phases(&[]);
    // A connection that is there already, whose request starts a replica: its log is a descriptor more.
    let mut early = Connection::to(daemon.address());
    let _ = early.send(&Request::get("/v2/health/live")).ok();

    let node = daemon.node_pid();
    let shortage = NoDescriptors::of(node);
    early.write(&at_zero.echo_request(7).bytes()).unwrap();
    let late: Vec<(i64, Connection<TcpStream>)> = (0..20)
        .map(|data| {
            let mut connection = Connection::to(daemon.address());
            connection.write(&running.echo_request(data).bytes()).unwrap();
            (data, connection)
        })
        .collect();
    until_true("clients wait", || daemon.log().contains("accepting a connection failed"));
    until_true("the spawner waits", || daemon.log().contains("too few descriptors"));
    drop(shortage);

    let echoed = |connection: &mut Connection<TcpStream>| {
        connection.receive().unwrap().ok().json()["outputs"][0]["data"][0].clone()
    };
    for (data, mut connection) in late {
        assert_eq!(echoed(&mut connection), data);
    }
    assert_eq!(echoed(&mut early), 7);
    assert_eq!(daemon.node_pid(), node, "it is the same process");
    assert_eq!(at_zero.phases(), ["ready"]);
}

pub(crate) fn a_spawner_without_descriptors_says_so_and_goes_on(round: Round) {
    let daemon = fake().in_round(round).endpoint("freeze_after", "\"1h\"").start();
    let running = daemon.deploy_fake("running", Script::echo(), &[]);
    running.check_echo(1);
    let at_zero = daemon.deploy_fake("at-zero", Script::echo(), &[]);
    at_zero.until_phases(&[]);
    let (node, replica) = (daemon.node_pid(), running.processes());

    let shortage = NoDescriptors::of(daemon.pid());
    let answer = daemon.send(&at_zero.echo_request(1));
    let told = answer.text();
    assert!(answer.status != 200 && told.contains("Too many open files"), "{told}");
    running.check_echo(2);

    processes::kill(node, Signal::KILL);
    until_true("no other node can be started", || daemon.log().contains("the node process was not started"));
    drop(shortage);
    until("another node", || processes::child(daemon.pid(), "node").filter(|pid| *pid != node));
    running.check_echo(3);
    assert_eq!(running.processes(), replica, "the replica never noticed");
    until_it_serves(&at_zero);
}

/// The next daemon is not without the memory that replicas of a killed one hold until they are swept.
#[test]
fn a_budget_left_to_the_machine_is_read_once_what_a_killed_daemon_left_is_gone() {
    const HELD_MIB: u64 = 1_536;
    let home = fake().set("node", "memory_budget", "\"auto\"").endpoint("freeze_after", "\"1ms\"");
    let daemon = home.endpoint("tmp", &format!("\"{HELD_MIB}Mi\"")).endpoint("memory", "\"2Gi\"").start();
    let endpoint = daemon.deploy_fake("m", Script::echo(), &[]);
    let budget = |daemon: &Daemon| daemon.metrics().sum("dormouse_memory_budget_bytes", &[]);
    let before = budget(&daemon);
    endpoint.play(Script::echo().infer(Infer::Bomb(Bomb::Tmp)));
    assert_eq!(daemon.send(&endpoint.echo_request(1)).status, 200);
    // Unlike others it does not end by itself when its daemon does.
    endpoint.until_phases(&["frozen"]);
    let daemon = daemon.kill().start_again();
    // Others take memory meanwhile, and give it back.
    let lost = before - budget(&daemon);
    assert!(lost < (HELD_MIB << 20) as f64 / 2.0, "{lost} bytes are in use that were not");
}

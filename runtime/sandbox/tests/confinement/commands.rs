//! Commands that are run beside a process of an image.

use dormouse_driver::{
    commands::Orders,
    images::{PORT, with},
};
use dormouse_sandbox::{
    channel::ChannelError,
    commands::{OUTPUT_BYTES_MAX, Outcome, Report},
    messages::{ReplicaId, SocketKind},
};
use rustix::process::Signal;

use crate::images::Stage;

/// Long enough for all that ends, in milliseconds.
const LONG: u64 = 30_000;
/// Long enough for one to begin.
const SHORT: u64 = 2_000;
const SCRIPT: usize = 0;
const OTHER: usize = 1;
/// What runs them, as a shell in the container finds it.
const FIND: &str = "for p in /proc/[0-9]*; do case $(cat $p/comm) in dormouse-probe) echo ${p#/proc/};; esac; done";

/// The image's web server, which can be asked to write the script that is run, and a program that is not there.
fn start(stage: &mut Stage) -> (ReplicaId, Orders) {
    start_with(stage, &["/nope"])
}

/// The same with another command.
fn start_with(stage: &mut Stage, other: &[&str]) -> (ReplicaId, Orders) {
    let commands = [&["sh", "/tmp/script", "a b"], other];
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let spec = with(stage.web("web"), |payload| payload.commands = commands.map(words).to_vec());
    stage.node.start_image(&spec);
    drop(stage.node.connect(&spec.replica, PORT));
    let orders = stage.node.orders(&spec.replica).unwrap();
    (spec.replica, orders)
}

fn write(stage: &mut Stage, replica: &ReplicaId, script: &str) {
    let written = stage.node.run_in(replica, &format!("cat >/tmp/script <<'END'\n{script}\nEND\necho written"));
    assert_eq!(written, "written");
}

fn run(stage: &mut Stage, replica: &ReplicaId, orders: &mut Orders, script: &str) -> Report {
    write(stage, replica, script);
    orders.run(SCRIPT, LONG)
}

fn ends(report: &Report) -> (Outcome, &str) {
    (report.outcome.clone(), report.output.trim())
}

pub(crate) fn how_one_ended_is_told_with_what_it_printed() {
    let mut stage = Stage::set();
    let (replica, mut orders) = start(&mut stage);
    let mut run = |script: &str| run(&mut stage, &replica, &mut orders, script);
    assert_eq!(ends(&run("exit 0")), (Outcome::Exited(0), ""));
    assert_eq!(ends(&run("echo \"out $1\"; echo err >&2; exit 3")), (Outcome::Exited(3), "out a b\nerr"));
    assert_eq!(ends(&run("kill -9 $$")), (Outcome::Killed { signal: 9 }, ""));
    assert_eq!(ends(&run("sleep 4713 & echo $!")).0, Outcome::Exited(0), "though another holds what it printed to");
    // As processes of their own sessions do not hear of the end of their group.
    let runs = "cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -q 'sleep 471[3]'";
    let begun = run(&format!("setsid sleep 4713 & until {runs}; do usleep 1000; done"));
    assert_eq!(begun.outcome, Outcome::Exited(0));
    let left = run("cat /proc/[0-9]*/status 2>/dev/null | grep '^Name:.*sleep'");
    assert_eq!(ends(&left), (Outcome::Exited(1), ""), "neither runs nor is waited for");
    let long = run("head -c 100000 /dev/zero | tr '\\0' x");
    assert_eq!((long.outcome, long.output), (Outcome::Exited(0), "x".repeat(OUTPUT_BYTES_MAX)));
    let bytes = run("printf '\\377\\001\"'");
    assert_eq!(bytes.output, "\u{fffd}\u{1}\"");
    let missing = orders.run(OTHER, LONG);
    assert_eq!(missing.outcome, Outcome::Exited(127));
    assert!(missing.output.contains("`/nope` is not in the image"), "{}", missing.output);
    let unknown = orders.run(2, LONG);
    assert!(
        matches!(&unknown.outcome, Outcome::NotStarted { reason } if reason.contains("no such command")),
        "{unknown:?}"
    );
    stage.end();
}

pub(crate) fn one_has_no_more_rights_than_the_process_that_it_is_beside() {
    let mut stage = Stage::set();
    let (replica, mut orders) = start_with(&mut stage, &["ls", "/proc/self/fd"]);
    let look = "grep -E '^(Uid|Gid|Groups|NoNewPrivs|Seccomp|Seccomp_filters|Cap...):' /proc/self/status\n\
                cat /proc/self/cgroup | md5sum; for n in mnt net pid user ipc uts cgroup; do readlink /proc/self/ns/$n; done";
    let within = stage.node.run_in(&replica, look);
    let beside = run(&mut stage, &replica, &mut orders, look);
    assert_eq!(ends(&beside), (Outcome::Exited(0), within.as_str()));
    let own = run(&mut stage, &replica, &mut orders, "pwd; echo $GREETING");
    assert_eq!(ends(&own), (Outcome::Exited(0), "/\nhello"));
    // And the directory that is listed.
    assert_eq!(ends(&orders.run(OTHER, LONG)), (Outcome::Exited(0), "0\n1\n2\n3"));
    stage.end();
}

pub(crate) fn one_that_does_not_end_is_killed_with_those_it_began() {
    let mut stage = Stage::set();
    let (replica, mut orders) = start(&mut stage);
    write(&mut stage, &replica, "sleep 4711 & echo begun; sleep 4712");
    let late = orders.run(SCRIPT, SHORT);
    assert_eq!(ends(&late), (Outcome::TimedOut, "begun"));
    let left = "until ! grep -lE '471[12]' /proc/[0-9]*/cmdline | grep -v self; do usleep 1000; done; echo none";
    assert_eq!(stage.node.run_in(&replica, left), "none");
    write(&mut stage, &replica, "while :; do echo flood; done");
    let flood = orders.run(SCRIPT, SHORT);
    assert_eq!((flood.outcome, flood.output.len()), (Outcome::TimedOut, OUTPUT_BYTES_MAX));
    stage.end();
}

pub(crate) fn another_order_ends_the_one_before() {
    let mut stage = Stage::set();
    let (replica, mut orders) = start(&mut stage);
    write(&mut stage, &replica, "sleep 1000");
    orders.give(SCRIPT, LONG);
    let next = orders.give(OTHER, LONG);
    let report = orders.report().unwrap();
    assert_eq!((report.number, report.outcome), (next, Outcome::Exited(127)));
    stage.end();
}

/// The image's first process is not told of it, by a `wait` above all, and nothing of the image can look into it.
pub(crate) fn what_runs_them_is_out_of_the_images_reach() {
    let mut stage = Stage::set();
    let (replica, mut orders) = start(&mut stage);
    let pid = stage.node.run_in(&replica, FIND);
    let stat = stage.node.run_in(&replica, &format!("cat /proc/{pid}/stat"));
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    // From the third on: its parent, its session, and the signal that its end is told by.
    assert_eq!((fields[1], fields[3], fields[35]), ("1", pid.as_str(), "0"), "{stat}");
    for name in ["maps", "mem", "environ", "exe", "root/", "cwd/", "fd/", "fd/3", "ns/mnt"] {
        let look =
            format!("if ls -l /proc/{pid}/{name} >/dev/null && head -c 1 /proc/{pid}/{name}; then echo seen; fi 2>&1");
        let seen = stage.node.run_in(&replica, &look);
        assert!(seen.contains("denied") || seen.contains("not permitted"), "{name}: {seen}");
    }
    assert_eq!(run(&mut stage, &replica, &mut orders, "exit 5").outcome, Outcome::Exited(5));
    // It may end it: then nothing is run in it any more, and it goes on.
    assert_eq!(stage.node.run_in(&replica, &format!("kill -9 {pid}; echo killed")), "killed");
    assert!(matches!(orders.report(), Err(ChannelError::Closed)));
    assert_eq!(stage.node.run_in(&replica, "echo alive"), "alive");
    stage.stop(&replica);
    stage.end();
}

pub(crate) fn they_are_of_the_replica_and_not_of_the_node_that_asks() {
    let mut stage = Stage::set();
    let plain = with(stage.web("plain"), |_| ());
    stage.node.start_image(&plain);
    let none = stage.node.orders(&plain.replica).unwrap_err();
    assert!(none.contains("no commands"), "{none}");
    let (replica, mut orders) = start(&mut stage);
    write(&mut stage, &replica, "echo $0");
    stage.node.freeze(&replica);
    let asked = orders.give(SCRIPT, LONG);
    stage.node.thaw(&replica);
    assert_eq!(orders.report().unwrap().number, asked);
    // Of one that the node before asked for and did not hear of.
    orders.give(OTHER, LONG);
    drop(orders);
    stage.node.signal(Signal::KILL);
    stage.node.wait_until_closed();
    stage.node = stage.daemon.node();
    let mut orders = stage.node.orders(&replica).unwrap();
    orders.skip_to(100);
    let asked = orders.give(SCRIPT, LONG);
    let mut report = orders.report().unwrap();
    while report.number != asked {
        report = orders.report().unwrap();
    }
    assert_eq!(ends(&report), (Outcome::Exited(0), "/tmp/script"));
    stage.stop(&replica);
    assert!(matches!(orders.report(), Err(ChannelError::Closed)));
    assert!(stage.node.socket_of(&replica, SocketKind::Orders).is_err());
    stage.end();
}

//! A request that arrives while its replica is being frozen is not lost, however long that takes.

use std::{
    fs,
    process::{Child, Command, Stdio},
    thread,
};

use dormouse_tests::{
    Endpoint, Home, Round, Script, processes,
    script::Infer,
    wait::{until, until_true},
};
use rustix::process::Signal;
use serde_json::json;

use crate::{deadlines::hold, fake};

/// Requests, each about when the replica freezes after the one before.
const REQUESTS: i64 = 200;

fn freezing(round: Round) -> Home {
    fake()
        .in_round(round)
        .endpoint("freeze_after", "\"1ms\"")
        .endpoint("zero_after", "\"1h\"")
        .endpoint("max_replicas", "1")
}

pub(crate) fn requests_about_the_moment_of_freezing_are_all_answered_by_one_replica(round: Round) {
    let daemon = freezing(round).start();
    let endpoint = daemon.deploy_fake("m", Script::echo(), &[]);
    for data in 0..REQUESTS {
        endpoint.check_echo(data);
        // Of different length, so that some come before the freeze, some within it and some after.
        (0..data % 5).for_each(|_| drop(endpoint.phases()));
    }
    let metrics = daemon.metrics();
    assert_eq!(metrics.sum("dormouse_starts_total", &[&format!("rung=\"{}\"", round.rung())]), 1.0);
    assert!(metrics.sum("dormouse_starts_total", &["rung=\"frozen\""]) > 0.0, "none came while it was frozen");
}

/// A process in a replica's freezer that the freezer does not stop: it wants to make a file in a directory
/// that another holds, who is outside and waits for a file system in user space that never says a word.
struct Unstoppable(Child);

const SCRIPT: &str = r#"
exec 9<>/dev/fuse
mount -i -t fuse none "$1" -o fd=9,rootmode=40000,user_id=0,group_id=0
stat "$1/x" &
until grep -q ') D ' /proc/$!/stat; do :; done
echo $$ >"$2/cgroup.procs"
exec mkdir "$1/y"
"#;

impl Unstoppable {
    fn beside(endpoint: &Endpoint<'_>) -> Self {
        let replica = endpoint.replicas().remove(0).control_group;
        let groups = processes::control_groups(endpoint.daemon.instance());
        let freezes = |name: &str| groups.iter().find(|group| group.ends_with(&replica) && group.join(name).exists());
        let group = freezes("freezer.state").or_else(|| freezes("cgroup.freeze")).expect("a group that freezes");
        let directory = endpoint.daemon.home().path().join("silent");
        fs::create_dir(&directory).unwrap();
        // In a mount namespace of its own, so that nothing is left of it.
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-ec", SCRIPT, "sh"]).args([&directory, group]);
        let unstoppable = Self(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap());
        until_true("it waits where nothing stops it", || unstoppable.waits());
        unstoppable
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap()
    }

    fn waits(&self) -> bool {
        fs::read_to_string(format!("/proc/{}/stat", self.pid())).is_ok_and(|stat| stat.contains("(mkdir) D "))
    }
}

impl Drop for Unstoppable {
    fn drop(&mut self) {
        let pid = self.pid();
        // First who is waited for: no signal reaches the other before.
        let holder = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        processes::kill(holder.trim().parse().unwrap(), Signal::KILL);
        processes::kill(pid, Signal::KILL);
        // In a test that fails it may be frozen by now: then it ends with the daemon.
        if !thread::panicking() {
            self.0.wait().unwrap();
        }
    }
}

/// Does this while a request keeps the replica from being frozen. A freeze begins once it is answered.
fn beside_a_request<T>(endpoint: &Endpoint<'_>, work: impl FnOnce() -> T) -> T {
    endpoint.play(Script::echo().infer(Infer::Hold));
    thread::scope(|scope| {
        let held = hold(scope, endpoint);
        let done = work();
        endpoint.play(Script::echo());
        let _ = held.join().unwrap().ok();
        done
    })
}

/// Whether its replica is being frozen and does not come to rest.
fn is_freezing(endpoint: &Endpoint<'_>) -> bool {
    let groups = processes::control_groups(endpoint.daemon.instance());
    let read = |name: &str, says: &str| {
        let texts = groups.iter().filter_map(|group| fs::read_to_string(group.join(name)).ok());
        texts.filter(|text| text.lines().any(|line| line == says)).count() > 0
    };
    read("freezer.state", "FREEZING") || read("cgroup.freeze", "1")
}

pub(crate) fn a_request_that_comes_while_a_freeze_does_not_end_is_answered(round: Round) {
    let daemon = freezing(round).start();
    let endpoint = daemon.deploy_fake("m", Script::echo(), &[]);
    endpoint.check_echo(1);
    let replica = endpoint.replicas().remove(0).id;
    let unstoppable = beside_a_request(&endpoint, || Unstoppable::beside(&endpoint));
    until_true("the freeze has begun", || is_freezing(&endpoint));
    endpoint.check_echo(2);
    assert_eq!(endpoint.replicas().remove(0).id, replica);
    beside_a_request(&endpoint, || drop(unstoppable));
    endpoint.until_phases(&["frozen"]);
    endpoint.check_echo(3);
}

pub(crate) fn a_freeze_that_does_not_end_is_given_up_and_told(round: Round) {
    let daemon = freezing(round).start();
    let endpoint = daemon.deploy_fake("m", Script::echo(), &[]);
    endpoint.check_echo(1);
    let unstoppable = beside_a_request(&endpoint, || Unstoppable::beside(&endpoint));
    until_true("the freeze has begun", || is_freezing(&endpoint));
    let told = until("it is given up", || endpoint.status()["last_failure"].as_str().map(str::to_owned));
    assert!(told.contains("not frozen"), "{told}");
    assert_eq!(endpoint.phases(), ["ready"]);
    endpoint.check_echo(2);
    beside_a_request(&endpoint, || drop(unstoppable));
    assert_eq!(endpoint.status()["replicas"].as_array().map(Vec::len), Some(1));
    assert_ne!(endpoint.status()["last_failure"], json!(null));
}

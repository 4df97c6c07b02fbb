//! A daemon with nothing to do does nothing, nor do containers that wait for a model and templates.

use std::{fs, thread::sleep, time::Duration};

use dormouse_tests::{Daemon, Round, Script, wait::until_true};

use crate::fake;

const ENDPOINTS: usize = 20;
/// Long beside the period of any tick, and short beside a test.
const WINDOW: Duration = Duration::from_secs(5);

/// How often the threads of a daemon's two processes went to sleep or were made to stop so far: none of
/// them can run without either.
fn switches(daemon: &Daemon) -> Vec<(String, u64)> {
    let of_process = |pid: i32| {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().map(|task| task.unwrap().path());
        tasks.map(|task| (task.display().to_string(), of_task(&task))).collect::<Vec<_>>()
    };
    let mut all = [daemon.pid(), daemon.node_pid()].map(of_process).concat();
    all.sort();
    all
}

fn of_task(task: &std::path::Path) -> u64 {
    let status = fs::read_to_string(task.join("status")).unwrap();
    let counts = status.lines().filter_map(|line| line.split_once("ctxt_switches:")?.1.trim().parse::<u64>().ok());
    counts.sum()
}

pub(crate) fn nothing_wakes_up_where_every_endpoint_is_at_zero(round: Round) {
    let daemon = fake().in_round(round).endpoint("freeze_after", "\"1ms\"").endpoint("zero_after", "\"10ms\"").start();
    for number in 0..ENDPOINTS {
        let endpoint = daemon.deploy_fake(&format!("m{number}"), Script::echo(), &[]);
        endpoint.check_echo(1);
    }
    let names: Vec<String> = (0..ENDPOINTS).map(|number| format!("m{number}")).collect();
    let is_at_zero = |name: &String| daemon.status(name)["replicas"].as_array().is_some_and(Vec::is_empty);
    until_true("all are at zero", || names.iter().all(is_at_zero));
    until_true("what is left of their last requests is over", || {
        let before = switches(&daemon);
        sleep(WINDOW / 5);
        before == switches(&daemon)
    });
    let before = switches(&daemon);
    sleep(WINDOW);
    assert_eq!(switches(&daemon), before, "something woke up");
}

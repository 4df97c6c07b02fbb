//! A daemon with nothing to do does nothing, nor do containers that wait for a model and templates.

use std::{fs, thread::sleep, time::Duration};

use dormouse_tests::{Daemon, Endpoint, Round, Script, wait::until_true};

use crate::fake;

const ENDPOINTS: usize = 20;
/// Long beside the period of any tick, and so short that there are several within a wait.
const WINDOW: Duration = Duration::from_secs(8);

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
    // A thread that has just ended counts as one that went on.
    let status = fs::read_to_string(task.join("status")).unwrap_or_default();
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
    let is_at_zero = |name: &String| Endpoint::of(&daemon, name).replicas().is_empty();
    until_true("all are at zero", || names.iter().all(is_at_zero));
    // What is left of their last requests has an end, as have threads that nothing is given to; a tick that comes within the
    // window has none.
    until_true("nothing wakes up for a while", || {
        let before = switches(&daemon);
        sleep(WINDOW);
        before == switches(&daemon)
    });
}

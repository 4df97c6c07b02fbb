//! Models that take too much while they are loaded, which is first of all at their deploy.

use dormouse_tests::{
    Daemon, Endpoint, Round, Script,
    processes::control_groups,
    script::{Bomb, Flood, Load},
    wait::until_true,
};

use super::{home, neighbours::beside_neighbours};

/// The deploy is refused with the cause, and nothing but the cause stays.
#[track_caller]
fn is_refused(round: Round, daemon: &Daemon, bomb: Bomb, cause: &str) {
    beside_neighbours(daemon, || {
        let reason = daemon.try_deploy_fake("bomber", &Script::echo().load(Load::Bomb(bomb)), 0, &[]).failed(1);
        assert!(reason.contains(cause), "{reason}");
    });
    let endpoint = Endpoint::of(daemon, "bomber");
    let failure = endpoint.status()["last_failure"].as_str().unwrap_or_default().to_owned();
    assert!(failure.contains(cause), "{failure}");
    until_true("nothing of it is left", || {
        let groups = control_groups(daemon.instance());
        endpoint.processes_and_makers().is_empty()
            && !groups.iter().any(|group| group.display().to_string().contains("bomber"))
    });
    let models = std::fs::read_dir(daemon.home().data().join("models")).unwrap();
    let models = models.filter(|entry| entry.as_ref().unwrap().path().join("model.onnx").exists()).count();
    assert_eq!(models, usize::from(round != Round::Image), "that of the neighbour, where it has one");
}

pub(crate) fn of_memory_while_loading(round: Round) {
    is_refused(round, &home(round).start(), Bomb::Memory, "out of memory: exceeded its limit of 64 MiB");
}

pub(crate) fn of_threads_while_loading(round: Round) {
    is_refused(round, &home(round).start(), Bomb::Threads, "out of processes: reached its limit of 64");
}

pub(crate) fn of_time_while_loading(round: Round) {
    let daemon = home(round).endpoint("start_deadline", "\"2s\"").start();
    let cause = match round {
        Round::Created | Round::Claimed | Round::Forked => "not loaded within the start deadline",
        Round::Image => "took no requests within 2 s",
    };
    is_refused(round, &daemon, Bomb::Spin, cause);
    is_refused(round, &daemon, Bomb::Stall, cause);
}

/// Output alone is no reason to refuse a model.
pub(crate) fn of_output_while_loading_is_only_slow(round: Round) {
    let daemon = home(round).start();
    beside_neighbours(&daemon, || {
        let flood = Bomb::Log { flood: Flood::Lines, mebibytes: 2 };
        daemon.deploy_fake("bomber", Script::echo().load(Load::Bomb(flood)), &[]).check_echo(1);
    });
}

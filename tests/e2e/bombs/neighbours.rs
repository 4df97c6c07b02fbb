use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use dormouse_tests::{Daemon, Script, processes, wait::until_true};

const CLIENTS: i64 = 3;
/// Between two calls of one client, so that the clients are no bomb themselves.
const CALL_EVERY: Duration = Duration::from_millis(5);
/// What either half of the daemon may grow by, whatever a replica does.
const DAEMON_GROWTH_MAX: u64 = 32 << 20;
/// What daemon and replicas may hold more than before once the bomb is gone.
const HELD_MAX: u64 = 48 << 20;

/// Tells the clients that it is over, also where a test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Does `work` while several clients call a neighbour. Every answer must be right, and the daemon
/// must be the same two processes afterwards, no larger than before.
#[track_caller]
pub(super) fn beside_neighbours(daemon: &Daemon, work: impl FnOnce()) {
    let neighbour = daemon.deploy_fake("neighbour", Script::echo(), &[]);
    neighbour.check_echo(0);
    let halves = [daemon.pid(), daemon.node_pid()];
    let state = || halves.map(|pid| (processes::start_time(pid), processes::peak_memory(pid)));
    let (before, held) = (state(), processes::memory_held(daemon.instance()));

    let (is_over, answers) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (neighbour, is_over, answers) = (&neighbour, &is_over, &answers);
            scope.spawn(move || {
                let mut data = client;
                while !is_over.load(Ordering::Acquire) {
                    neighbour.check_echo(data);
                    answers.fetch_add(1, Ordering::Relaxed);
                    data += CLIENTS;
                    thread::sleep(CALL_EVERY);
                }
            });
        }
        let _over = Over(&is_over);
        until_true("the neighbour is called", || answers.load(Ordering::Relaxed) > 0);
        work();
        let so_far = answers.load(Ordering::Relaxed);
        until_true("the neighbour is still called", || answers.load(Ordering::Relaxed) > so_far);
    });

    assert_eq!(daemon.node_pid(), halves[1], "the node process is another one");
    for (before, after) in before.iter().zip(state()) {
        assert_eq!(before.0, after.0, "a half of the daemon is another process");
        assert!(after.1 <= before.1 + DAEMON_GROWTH_MAX, "the daemon grew by {} bytes", after.1 - before.1);
    }
    until_true("memory comes back", || processes::memory_held(daemon.instance()) <= held + HELD_MAX);
}

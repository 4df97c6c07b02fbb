//! Replicas that served and are seen not to take requests for now.

use super::*;
use crate::{
    Place,
    policy::{Note, Usage},
};

const CAUSE: &str = "readiness probe: silence, 3 times";

fn unready(case: &mut Case, replica: ReplicaKey) -> Vec<Action> {
    case.step(Event::Unready { replica, cause: CAUSE.to_owned() })
}

/// Two that serve: the first with two requests, the second with one.
fn two() -> (Case, ReplicaKey, ReplicaKey) {
    let (mut case, first) = Case::serving(settings());
    case.acquire();
    let second = reserved(&case.acquire())[0];
    case.start(second);
    (case, first, second)
}

/// Idle, both of them.
fn two_of_which_one_must_run() -> (Case, ReplicaKey, ReplicaKey) {
    let mut case = Case::new(PolicySettings { min_replicas: 1, ..settings() });
    let first = reserved(&case.step(Event::Tick))[0];
    case.start(first);
    (0..2).for_each(|_| drop(case.acquire()));
    let second = reserved(&case.acquire())[0];
    case.start(second);
    for replica in [first, first, second] {
        case.step(Event::Release { replica });
    }
    (case, first, second)
}

#[test]
fn one_that_is_not_ready_keeps_what_it_has_and_gets_nothing() {
    let (mut case, first, second) = two();
    let told = Action::Note(Note::Unready { replica: first, cause: CAUSE.to_owned() });
    assert_eq!(unready(&mut case, first), [told], "it is neither ended nor replaced");
    case.step(Event::Release { replica: first });
    case.step(Event::Release { replica: first });
    assert_eq!(granted(&case.acquire()), [(4, second)], "though it has more");
    let waits = case.acquire();
    assert_eq!((granted(&waits), reserved(&waits)), (vec![], vec![]), "what is not ready is there all the same");
    let actions = case.step(Event::ReadyAgain { replica: first });
    assert_eq!(granted(&actions), [(5, first)]);
    assert!(actions.contains(&Action::Note(Note::ReadyAgain { replica: first })), "{actions:?}");
    assert_eq!(case.step(Event::ReadyAgain { replica: first }), [], "nothing new");
}

#[test]
fn more_requests_than_it_may_have_start_another_and_no_more_than_there_may_be() {
    let (mut case, first) = Case::serving(settings());
    case.step(Event::Release { replica: first });
    unready(&mut case, first);
    let started: Vec<usize> = (0..10).map(|_| reserved(&case.acquire()).len()).collect();
    assert_eq!(started, [0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    let full = Refusal::QueueFull { waiters: 10, retry_after: RETRY_AFTER_MIN };
    assert_eq!(refused(&case.acquire()), [(12, full)]);
    assert_eq!(granted(&case.start(ReplicaKey(2))), [(2, ReplicaKey(2)), (3, ReplicaKey(2))]);
    assert_eq!(granted(&case.step(Event::ReadyAgain { replica: first })), [(4, first), (5, first)]);
}

#[test]
fn whose_time_is_up_is_told_what_was_seen_last() {
    let (mut case, first) = Case::serving(settings());
    case.step(Event::Release { replica: first });
    case.step(Event::Unready { replica: first, cause: "readiness probe: another".to_owned() });
    assert_eq!(unready(&mut case, first), [], "seen otherwise, and known already");
    case.acquire();
    let late = Refusal::Unready { cause: CAUSE.to_owned() };
    assert_eq!(refused(&case.pass(100 * SECOND)), [(2, late)]);

    let (mut case, first, second) = two();
    unready(&mut case, first);
    case.acquire();
    case.acquire();
    let late = Refusal::Deadline { place: Place::Queue };
    assert_eq!(refused(&case.pass(100 * SECOND)), [(5, late)], "{second:?} is ready, and busy");
}

#[test]
fn idle_it_is_ended_when_a_frozen_one_would_be_and_not_while_requests_wait_for_it() {
    let (mut case, first) = Case::serving(settings());
    case.step(Event::Release { replica: first });
    unready(&mut case, first);
    case.acquire();
    assert_eq!(case.policy.next_wake(case.now), Some(case.now.after(100 * SECOND)), "only the request's time runs");
    assert_eq!(case.pass(99 * SECOND), [], "a request waits for it");
    assert_eq!(refused(&case.pass(SECOND)).len(), 1);
    assert_eq!(case.policy.next_wake(case.now), Some(case.now.after(300 * SECOND)), "from the last that waited");
    assert_eq!(case.pass(300 * SECOND)[0], Action::Stop { replica: first, grace: STOP_GRACE });
    case.die(first);
    assert_eq!(case.policy.next_wake(case.now), None, "nothing starts in its place");

    let soon = PolicySettings { zero_after: SECOND, ..settings() };
    let (mut case, first) = Case::serving(soon);
    case.step(Event::Release { replica: first });
    unready(&mut case, first);
    assert_eq!(case.pass(SECOND)[0], Action::Stop { replica: first, grace: STOP_GRACE });
}

#[test]
fn of_those_that_must_run_one_that_is_ready_stays_and_the_last_in_any_case() {
    let (mut case, first, second) = two_of_which_one_must_run();
    unready(&mut case, second);
    assert_eq!(case.pass(10 * SECOND), [], "the one that is ready must run, and the other may yet be");
    let actions = case.pass(290 * SECOND);
    assert_eq!(actions[0], Action::Stop { replica: second, grace: STOP_GRACE });
    assert!(!actions.contains(&Action::Freeze { replica: first }), "{actions:?}");
    case.die(second);
    unready(&mut case, first);
    assert_eq!(case.pass(1000 * SECOND), [], "it must run, and nothing takes its place");
}

#[test]
fn a_frozen_one_is_thawed_where_what_runs_is_not_ready() {
    let (mut case, first, second) = two();
    case.step(Event::Release { replica: first });
    case.step(Event::Release { replica: first });
    assert_eq!(case.pass(10 * SECOND)[0], Action::Freeze { replica: first });
    unready(&mut case, second);
    let actions = case.acquire();
    assert_eq!((&actions[0], granted(&actions)), (&Action::Thaw { replica: first }, vec![(4, first)]));
}

#[test]
fn a_frozen_one_takes_the_place_of_one_that_must_run_and_is_not_ready() {
    let (mut case, first, second) = two_of_which_one_must_run();
    assert!(case.pass(10 * SECOND).contains(&Action::Freeze { replica: first }));
    assert!(unready(&mut case, second).contains(&Action::Thaw { replica: first }), "whoever comes is served");
    assert_eq!(granted(&case.acquire())[0].1, first);
}

#[test]
fn one_that_is_waited_for_is_busy() {
    let (mut case, first) = Case::serving(PolicySettings { max_replicas: 1, ..settings() });
    case.step(Event::Release { replica: first });
    let reported = |actions: &[Action], usage| actions.contains(&Action::Report { replica: first, usage });
    unready(&mut case, first);
    assert!(reported(&case.acquire(), Usage::Busy), "its memory is not for others");
    assert!(reported(&case.pass(100 * SECOND), Usage::Idle));
}

#[test]
fn one_that_sleeps_starts_or_ends_is_not_seen_to_be_so() {
    let (mut case, first, second) = two();
    case.step(Event::Release { replica: second });
    case.pass(10 * SECOND);
    assert_eq!(unready(&mut case, second), [], "it sleeps");
    assert_eq!(granted(&case.acquire()), [(4, second)], "and is ready when it is thawed");
    case.step(Event::Evict { replica: first });
    assert_eq!(unready(&mut case, first), [], "it ends");
    assert_eq!(case.step(Event::ReadyAgain { replica: first }), []);
    let mut case = Case::new(settings());
    let replica = reserved(&case.acquire())[0];
    case.step(Event::MemoryGranted { replica });
    assert_eq!(unready(&mut case, replica), [], "it starts");
}

#[test]
fn one_that_is_looked_at_or_was_seen_to_fail_is_not_frozen_before_that_is_settled() {
    let (mut case, replica) = Case::serving(settings());
    case.step(Event::Release { replica });
    assert_eq!(case.step(Event::Doubted { replica, doubted: true }), []);
    assert_eq!(case.policy.next_wake(case.now), Some(case.now.after(300 * SECOND)));
    assert_eq!(case.pass(11 * SECOND), []);
    assert_eq!(granted(&case.acquire()), [(2, replica)], "it gets requests all the same");
    case.step(Event::Release { replica });
    case.pass(11 * SECOND);
    let actions = case.step(Event::Doubted { replica, doubted: false });
    assert_eq!(actions[0], Action::Freeze { replica }, "it is time");

    let (mut case, replica) = Case::serving(settings());
    case.step(Event::Release { replica });
    case.step(Event::Doubted { replica, doubted: true });
    assert_eq!(case.pass(300 * SECOND)[0], Action::Stop { replica, grace: STOP_GRACE }, "not for ever");
}

#[test]
fn it_ends_as_others_do() {
    let not_ready = || {
        let (mut case, replica) = Case::serving(PolicySettings { max_replicas: 1, ..settings() });
        unready(&mut case, replica);
        case.acquire();
        (case, replica)
    };
    let (mut case, replica) = not_ready();
    let unwell = Event::Unwell { replica, cause: "liveness probe: silence".to_owned() };
    assert_eq!(case.step(unwell)[0], Action::Stop { replica, grace: STOP_GRACE });
    assert_eq!(reserved(&case.die(replica)).len(), 1, "for who waits");

    let (mut case, replica) = not_ready();
    assert_eq!(case.step(Event::Silent { replica })[0], Action::Stop { replica, grace: Duration::ZERO });

    let (mut case, replica) = not_ready();
    assert!(case.step(Event::Evict { replica }).contains(&Action::Report { replica, usage: Usage::Leaving }));
    let actions = case.step(Event::Release { replica });
    assert_eq!(actions, [Action::Stop { replica, grace: STOP_GRACE }]);

    let (mut case, replica) = not_ready();
    assert_eq!(reserved(&case.die(replica)).len(), 1);
    let second = ReplicaKey(2);
    case.start(second);
    unready(&mut case, second);
    case.die(second);
    assert!(matches!(refused(&case.acquire())[..], [(3, Refusal::BackOff { .. })]), "the second that died in service");
}

use super::*;
use crate::Place;

#[test]
fn concurrent_first_requests_share_starts() {
    let mut case = Case::new(PolicySettings { queue_waiters_max: 1000, ..settings() });
    let started: usize = (0..200).map(|_| reserved(&case.acquire()).len()).sum();
    assert_eq!(started, 2);
    assert_eq!(granted(&case.start(ReplicaKey(1))), [(1, ReplicaKey(1)), (2, ReplicaKey(1))]);
    assert_eq!(granted(&case.start(ReplicaKey(2))), [(3, ReplicaKey(2)), (4, ReplicaKey(2))]);
    assert_eq!(granted(&case.step(Event::Release { replica: ReplicaKey(2) })), [(5, ReplicaKey(2))]);
}

#[test]
fn as_many_replicas_as_the_load_needs() {
    let mut case = Case::new(settings());
    assert_eq!(reserved(&case.acquire()).len(), 1);
    assert_eq!(reserved(&case.acquire()).len(), 0, "one replica serves two");
    assert_eq!(reserved(&case.acquire()).len(), 1);
    assert_eq!(case.step(Event::Cancel { waiter: WaiterId(3) }), [Action::Free { replica: ReplicaKey(2) }]);
}

#[test]
fn the_least_loaded_replica_is_granted_and_a_frozen_one_last() {
    let (mut case, first) = Case::serving(settings());
    case.acquire();
    let second = reserved(&case.acquire())[0];
    case.start(second);
    case.step(Event::Release { replica: first });
    case.step(Event::Release { replica: first });
    case.pass(10 * SECOND);
    assert_eq!(granted(&case.acquire()), [(4, second)], "running, though more loaded");
    let actions = case.acquire();
    assert_eq!(actions[0], Action::Thaw { replica: first });
    assert_eq!(granted(&actions), [(5, first)]);
}

#[test]
fn the_place_where_time_ran_out_is_named() {
    let late = |case: &mut Case| refused(&case.pass(100 * SECOND));
    let mut case = Case::new(PolicySettings { start_deadline: 1000 * SECOND, ..settings() });
    let replica = reserved(&case.acquire())[0];
    case.step(Event::MemoryGranted { replica });
    assert_eq!(late(&mut case), [(1, Refusal::Deadline { place: Place::Start })]);

    let (mut case, _) = Case::serving(PolicySettings { max_replicas: 1, ..settings() });
    case.acquire();
    case.acquire();
    assert_eq!(late(&mut case), [(3, Refusal::Deadline { place: Place::Queue })]);

    let mut case = Case::new(settings());
    let replica = reserved(&case.acquire())[0];
    let short = dormouse_spec::Bytes::from_mebibytes(64);
    case.step(Event::MemoryShort { replica, short });
    assert_eq!(late(&mut case), [(1, Refusal::OutOfCapacity { short, retry_after: RETRY_AFTER_MIN })]);
}

#[test]
fn retry_after_is_the_last_measured_start() {
    let mut case = Case::new(PolicySettings { max_replicas: 1, queue_waiters_max: 1, ..settings() });
    let replica = reserved(&case.acquire())[0];
    let full = |retry_after| Refusal::QueueFull { waiters: 1, retry_after };
    assert_eq!(refused(&case.acquire()), [(2, full(SECOND))]);
    case.step(Event::MemoryGranted { replica });
    case.pass(7 * SECOND);
    case.step(Event::Ready { replica });
    case.acquire();
    case.acquire();
    assert_eq!(refused(&case.acquire()), [(5, full(7 * SECOND))]);
}

#[test]
fn draining_refuses_and_ends_each_replica_with_its_last_lease_or_at_the_deadline() {
    let (mut case, first) = Case::serving(settings());
    case.acquire();
    let second = reserved(&case.acquire())[0];
    case.start(second);
    let until = case.now.after(30 * SECOND);
    case.step(Event::Drain { until });
    assert!(matches!(refused(&case.acquire())[..], [(4, Refusal::Draining { .. })]));
    let stop = |replica, grace| Action::Stop { replica, grace };
    assert_eq!(case.step(Event::Release { replica: second }), [stop(second, STOP_GRACE)]);
    assert_eq!(case.pass(30 * SECOND), [stop(first, STOP_GRACE)]);
    assert!(!case.policy.is_over());
    case.die(first);
    case.die(second);
    assert!(case.policy.is_over());
}

#[test]
fn a_new_revision_drains_the_old_and_starts_for_who_waits() {
    let (mut case, old) = Case::serving(PolicySettings { max_replicas: 1, ..settings() });
    case.acquire();
    case.acquire();
    let actions = case.step(Event::NewRevision { settings: settings() });
    let new = reserved(&actions)[0];
    assert_eq!(granted(&case.step(Event::Release { replica: old })), []);
    assert_eq!(granted(&case.start(new)), [(3, new)]);
    assert_eq!(case.step(Event::Release { replica: old }), [Action::Stop { replica: old, grace: STOP_GRACE }]);
}

#[test]
fn what_is_evicted_ends_with_its_last_lease() {
    let (mut case, replica) = Case::serving(settings());
    assert!(
        case.step(Event::Evict { replica }).contains(&Action::Report { replica, usage: crate::policy::Usage::Leaving })
    );
    assert_eq!(granted(&case.acquire()), [], "it takes no more requests");
    let actions = case.step(Event::Release { replica });
    assert_eq!(actions, [Action::Stop { replica, grace: STOP_GRACE }]);
}

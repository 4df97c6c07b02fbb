use dormouse_sandbox::messages::ExitCause;

use super::*;

fn fail_start(case: &mut Case) -> Vec<Action> {
    let replica = reserved(&case.acquire())[0];
    case.step(Event::MemoryGranted { replica });
    let mut actions = case.step(Event::LoadFailed { replica, reason: "no such op".to_owned() });
    actions.extend(case.die(replica));
    actions
}

#[test]
fn a_failed_start_refuses_who_waits_and_who_comes_until_the_delay_is_over() {
    let mut case = Case::new(settings());
    let failed = Refusal::StartFailed { cause: "no such op".to_owned(), retry_after: SECOND };
    assert_eq!(refused(&fail_start(&mut case)), [(1, failed)]);
    assert!(case.policy.is_failed(case.now));
    let back_off = Refusal::BackOff { cause: "no such op".to_owned(), retry_after: SECOND };
    assert_eq!(refused(&case.acquire()), [(2, back_off)]);
    assert_eq!(case.policy.next_wake(case.now), Some(case.now.after(SECOND)));
    case.pass(SECOND);
    assert!(!case.policy.is_failed(case.now));
    fail_start(&mut case);
    assert_eq!(case.policy.next_wake(case.now), Some(case.now.after(2 * SECOND)));
}

#[test]
fn a_start_that_takes_too_long_is_killed_and_counts_as_failed() {
    let mut case = Case::new(settings());
    let deadline = case.now.after(1000 * SECOND);
    let replica = reserved(&case.step(Event::Acquire { waiter: WaiterId(9), deadline }))[0];
    case.step(Event::MemoryGranted { replica });
    let actions = case.pass(60 * SECOND);
    assert_eq!(actions[0], Action::Stop { replica, grace: Duration::ZERO });
    assert!(matches!(refused(&actions)[..], [(9, Refusal::StartFailed { .. })]));
}

#[test]
fn others_that_serve_keep_the_waiters_of_a_failed_start() {
    let (mut case, first) = Case::serving(settings());
    case.acquire();
    let second = reserved(&case.acquire())[0];
    case.step(Event::MemoryGranted { replica: second });
    assert_eq!(refused(&case.die(second)), []);
    assert_eq!(granted(&case.step(Event::Release { replica: first })), [(3, first)]);
}

#[test]
fn after_one_death_in_service_the_next_request_works_and_after_two_it_waits() {
    let (mut case, first) = Case::serving(settings());
    assert_eq!(reserved(&case.die(first)), []);
    let second = reserved(&case.acquire())[0];
    assert_eq!(granted(&case.start(second)), [(2, second)]);
    case.die(second);
    assert!(matches!(refused(&case.acquire())[..], [(3, Refusal::BackOff { .. })]));
}

#[test]
fn an_answer_between_two_deaths_forgives_the_first_and_a_lease_alone_does_not() {
    for is_served in [true, false] {
        let (mut case, first) = Case::serving(settings());
        case.die(first);
        let second = reserved(&case.acquire())[0];
        case.start(second);
        if is_served {
            case.step(Event::Served { replica: second });
        }
        case.step(Event::Release { replica: second });
        case.die(second);
        assert_eq!(reserved(&case.acquire()).len(), usize::from(is_served));
    }
}

#[test]
fn a_death_in_service_restarts_for_who_waits() {
    let (mut case, first) = Case::serving(PolicySettings { max_replicas: 1, ..settings() });
    case.acquire();
    case.acquire();
    assert_eq!(reserved(&case.die(first)).len(), 1);
    assert_eq!(case.policy.waiters(), 1);
}

fn claim_and_lose(case: &mut Case, replica: ReplicaKey, signal: i32) -> Vec<Action> {
    case.step(Event::MemoryGranted { replica });
    case.step(Event::Created { replica, claimed: true });
    let mut actions = case.step(Event::Exited { replica, cause: ExitCause::Signal { signal } });
    actions.extend(case.step(Event::Removed { replica }));
    actions
}

#[test]
fn a_container_of_the_pool_that_is_killed_costs_no_waiter_its_place_once() {
    let mut case = Case::new(settings());
    let first = reserved(&case.acquire())[0];
    let actions = claim_and_lose(&mut case, first, 9);
    assert_eq!(refused(&actions), []);
    let second = reserved(&actions)[0];
    assert_ne!(first, second);
    assert!(matches!(refused(&claim_and_lose(&mut case, second, 9))[..], [(1, Refusal::StartFailed { .. })]));
    case.pass(60 * SECOND);
    // One that came to be ready forgives the one before.
    let third = reserved(&case.acquire())[0];
    assert_eq!(granted(&case.start(third)), [(2, third)]);
    case.die(third);
    let fourth = reserved(&case.acquire())[0];
    assert_eq!(refused(&claim_and_lose(&mut case, fourth, 9)), []);
}

#[test]
fn a_model_that_crashes_its_container_is_no_lost_claim() {
    let mut case = Case::new(settings());
    let replica = reserved(&case.acquire())[0];
    assert!(matches!(refused(&claim_and_lose(&mut case, replica, 11))[..], [(1, Refusal::StartFailed { .. })]));
}

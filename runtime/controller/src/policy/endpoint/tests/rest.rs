use super::*;
use crate::policy::{AdoptedState, Note};

#[test]
fn idle_then_frozen_then_gone_then_back() {
    let (mut case, replica) = Case::serving(settings());
    case.step(Event::Release { replica });
    assert_eq!(case.policy.next_wake(case.now), Some(case.now.after(10 * SECOND)));
    assert_eq!(case.pass(10 * SECOND)[0], Action::Freeze { replica });
    case.step(Event::Frozen { replica });
    assert_eq!(case.pass(290 * SECOND)[0], Action::Stop { replica, grace: STOP_GRACE });
    case.die(replica);
    assert_eq!(case.policy.next_wake(case.now), None, "nothing runs and nothing wakes");
    let again = reserved(&case.acquire())[0];
    assert_eq!(granted(&case.start(again)), [(2, again)]);
}

#[test]
fn replicas_that_must_run_are_started_unasked_and_rest_never() {
    let mut case = Case::new(PolicySettings { min_replicas: 1, ..settings() });
    let first = reserved(&case.step(Event::Tick))[0];
    case.start(first);
    assert_eq!(case.pass(1000 * SECOND), []);
    let again = case.die(first);
    assert_eq!(reserved(&again).len(), 1);
}

#[test]
fn an_answer_overtaken_by_a_thaw_changes_nothing() {
    let (mut case, replica) = Case::serving(settings());
    case.step(Event::Release { replica });
    case.pass(10 * SECOND);
    assert_eq!(granted(&case.acquire()), [(2, replica)]);
    assert_eq!(case.step(Event::Frozen { replica }), []);
    assert_eq!(case.step(Event::Thawed { replica, unasked: false }), []);
    // None is on its way now, so this one would leave the request waiting.
    assert_eq!(case.step(Event::Frozen { replica }), [Action::Thaw { replica }]);
}

#[test]
fn a_freeze_that_fails_is_tried_again_later() {
    let (mut case, replica) = Case::serving(settings());
    case.step(Event::Release { replica });
    case.pass(10 * SECOND);
    let actions = case.step(Event::Thawed { replica, unasked: true });
    assert!(!actions.contains(&Action::Freeze { replica }));
    assert_eq!(case.pass(FREEZE_RETRY)[0], Action::Freeze { replica });
}

#[test]
fn adopted_replicas_serve_at_once_and_outdated_ones_end() {
    let mut case = Case::new(settings());
    let (ready, frozen, outdated) = (case.policy.new_key(), case.policy.new_key(), case.policy.new_key());
    case.step(Event::Adopt { replica: ready, state: AdoptedState::Ready, template: None });
    case.step(Event::Adopt { replica: frozen, state: AdoptedState::Frozen, template: None });
    let actions = case.step(Event::Adopt { replica: outdated, state: AdoptedState::Outdated, template: None });
    assert_eq!(actions[0], Action::Stop { replica: outdated, grace: STOP_GRACE });
    assert_eq!(granted(&case.acquire()), [(1, ready)]);
    case.acquire();
    assert_eq!(granted(&case.acquire()), [(3, frozen)]);
}

#[test]
fn what_the_spawner_could_not_do_is_undone_or_done_again() {
    let refused = |replica| Event::Refused { replica, reason: "the kernel said no".to_owned() };
    let mut case = Case::new(settings());
    let replica = reserved(&case.acquire())[0];
    case.step(Event::MemoryGranted { replica });
    assert!(case.step(refused(replica)).contains(&Action::Free { replica }), "it was never created");

    let (mut case, replica) = Case::serving(settings());
    case.step(Event::Release { replica });
    case.pass(10 * SECOND);
    case.step(refused(replica));
    assert_eq!(granted(&case.acquire()), [(2, replica)], "not frozen, so it serves");

    case.step(Event::Release { replica });
    case.pass(10 * SECOND);
    case.acquire();
    let kill = Action::Stop { replica, grace: Duration::ZERO };
    assert_eq!(case.step(refused(replica))[0], kill, "not thawed, so it must not keep the request");
    case.step(refused(replica));
    assert_eq!(case.pass(STOP_RETRY), [kill]);
}

#[test]
fn a_silent_replica_is_killed_and_another_takes_its_place() {
    let (mut case, replica) = Case::serving(PolicySettings { max_replicas: 1, ..settings() });
    let actions = case.step(Event::Silent { replica });
    assert_eq!(actions[0], Action::Stop { replica, grace: Duration::ZERO });
    assert!(actions.iter().any(|action| matches!(action, Action::Note(Note::Crashed { .. }))), "{actions:?}");
    assert_eq!(case.step(Event::Silent { replica }), [], "once is enough");
    case.step(Event::Release { replica });
    assert_eq!(granted(&case.acquire()), [], "it gets no request");
    let again = reserved(&case.die(replica))[0];
    assert_eq!(granted(&case.start(again)), [(2, again)]);
}

#[test]
fn one_in_which_nothing_listens_finishes_what_it_has_and_is_told_to_end_then() {
    let (mut case, replica) = Case::serving(PolicySettings { max_replicas: 1, ..settings() });
    case.acquire();
    let actions = case.step(Event::Deaf { replica });
    assert!(!actions.iter().any(|action| matches!(action, Action::Stop { .. })), "it has requests: {actions:?}");
    assert!(actions.contains(&Action::Note(Note::Deaf { replica })), "{actions:?}");
    assert_eq!(case.step(Event::Deaf { replica }), [], "once is enough");
    assert_eq!(granted(&case.acquire()), [], "it gets no request");
    assert_eq!(case.policy.next_wake(case.now), Some(case.now.after(30 * SECOND)), "it has so long for them");
    case.step(Event::Release { replica });
    assert_eq!(case.step(Event::Release { replica }), [Action::Stop { replica, grace: STOP_GRACE }]);
    let again = reserved(&case.die(replica))[0];
    assert_eq!(granted(&case.start(again)), [(3, again)]);

    let (mut case, replica) = Case::serving(settings());
    case.step(Event::Release { replica });
    assert_eq!(case.step(Event::Deaf { replica })[0], Action::Stop { replica, grace: STOP_GRACE }, "it has none");
}

#[test]
fn an_unwell_replica_is_told_to_end_and_back_off_begins_with_the_second() {
    let (mut case, replica) = Case::serving(PolicySettings { max_replicas: 1, ..settings() });
    let unwell = |replica| Event::Unwell { replica, cause: "liveness probe: silence".to_owned() };
    let actions = case.step(unwell(replica));
    assert_eq!(actions[0], Action::Stop { replica, grace: STOP_GRACE });
    assert_eq!(actions[1], Action::Note(Note::Crashed { replica, cause: "liveness probe: silence".to_owned() }));
    assert_eq!(case.step(unwell(replica)), [], "once is enough");
    case.die(replica);
    let second = reserved(&case.acquire())[0];
    case.start(second);
    case.step(unwell(second));
    case.die(second);
    let refused = case.acquire();
    let told = |action: &Action| matches!(action, Action::Refuse { refusal: Refusal::BackOff { cause, .. }, .. } if cause.contains("silence"));
    assert!(refused.iter().any(told), "{refused:?}");
}

#[test]
fn a_frozen_replica_is_never_unwell() {
    let (mut case, replica) = Case::serving(settings());
    case.step(Event::Release { replica });
    let frozen = case.pass(10 * SECOND);
    assert!(frozen.contains(&Action::Freeze { replica }), "{frozen:?}");
    assert_eq!(case.step(Event::Unwell { replica, cause: "late".to_owned() }), []);
}

#[test]
fn who_may_rest_at_last_after_a_long_idle_time_goes_without_being_frozen_first() {
    let mut case = Case::new(PolicySettings { min_replicas: 1, ..settings() });
    let first = reserved(&case.step(Event::Tick))[0];
    case.start(first);
    case.pass(1000 * SECOND);
    let second = case.policy.new_key();
    let actions = case.step(Event::Adopt { replica: second, state: AdoptedState::Ready, template: None });
    assert_eq!(actions[0], Action::Stop { replica: first, grace: STOP_GRACE });
    assert_eq!(case.policy.next_wake(case.now), None);
}

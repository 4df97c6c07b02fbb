use dormouse_sandbox::messages::ExitCause;
use dormouse_spec::Bytes;

use super::*;
use crate::policy::{
    AdoptedState, Note, Role, TemplateState, Usage,
    template::{FORK_DEATHS_MAX, FORK_DEATHS_WITHIN},
};

const KEEP: Duration = Duration::from_secs(600);

fn with_templates() -> PolicySettings {
    PolicySettings { templates: Some(TemplateSettings { keep: KEEP, prepared: prepared(1) }), ..settings() }
}

fn begun(actions: &[Action]) -> Option<ReplicaKey> {
    actions.iter().find_map(|action| match action {
        Action::ReserveFree { template } => Some(*template),
        _ => None,
    })
}

fn created(actions: &[Action]) -> Vec<(ReplicaKey, Role)> {
    let created = |action: &Action| match action {
        Action::Create { replica, role } => Some((*replica, *role)),
        _ => None,
    };
    actions.iter().filter_map(created).collect()
}

fn stopped(actions: &[Action], key: ReplicaKey) -> bool {
    actions.contains(&Action::Stop { replica: key, grace: Duration::ZERO })
}

fn granted_memory(case: &mut Case, replica: ReplicaKey) -> Vec<Action> {
    case.step(Event::MemoryGranted { replica })
}

/// One replica that awaits its template, whose memory is reserved.
fn awaiting(settings: PolicySettings) -> (Case, ReplicaKey, ReplicaKey) {
    let mut case = Case::new(settings);
    let replica = reserved(&case.acquire())[0];
    let actions = granted_memory(&mut case, replica);
    let template = begun(&actions).unwrap();
    assert_eq!(actions, [Action::ReserveFree { template }, Action::Await { replica }]);
    (case, replica, template)
}

/// One that serves, forked from a template that is ready.
fn forked(settings: PolicySettings) -> (Case, ReplicaKey, ReplicaKey) {
    let (mut case, replica, template) = awaiting(settings);
    let role = Role::Template { prepared: prepared(1) };
    assert_eq!(created(&granted_memory(&mut case, template)), [(template, role)]);
    case.step(Event::Created { replica: template, claimed: false });
    let actions = case.step(Event::Ready { replica: template });
    assert_eq!(created(&actions), [(replica, Role::Fork { template })]);
    fork(&mut case, replica);
    (case, replica, template)
}

/// What was ordered of the template is there and ready.
fn fork(case: &mut Case, replica: ReplicaKey) -> Vec<Action> {
    case.step(Event::Created { replica, claimed: false });
    case.step(Event::Ready { replica })
}

/// Another one for a further request, with its memory.
fn next(case: &mut Case) -> (ReplicaKey, Vec<Action>) {
    let replica = reserved(&case.acquire())[0];
    let actions = granted_memory(case, replica);
    (replica, actions)
}

fn loads_for_itself(actions: &[Action], replica: ReplicaKey) -> bool {
    created(actions) == [(replica, Role::Serve)] && begun(actions).is_none()
}

#[test]
fn the_first_replica_waits_for_the_template_and_the_next_is_forked_at_once() {
    let (mut case, first, template) = forked(PolicySettings { concurrency: 1, ..with_templates() });
    assert_eq!(case.policy.leases(), 1);
    let (second, actions) = next(&mut case);
    assert_eq!(created(&actions), [(second, Role::Fork { template })]);
    assert_eq!(granted(&fork(&mut case, second)), [(2, second)]);
    assert_eq!(case.policy.current_template(), Some((TemplateState::Ready, 2)));
    assert_ne!(first, second);
}

#[test]
fn all_who_wait_share_one_template() {
    let (mut case, first, template) = awaiting(PolicySettings { concurrency: 1, ..with_templates() });
    let (second, actions) = next(&mut case);
    assert_eq!(actions, [Action::Await { replica: second }]);
    granted_memory(&mut case, template);
    let actions = case.step(Event::Ready { replica: template });
    assert_eq!(created(&actions), [first, second].map(|replica| (replica, Role::Fork { template })));
}

#[test]
fn where_memory_is_short_replicas_load_for_themselves_and_the_next_start_tries_again() {
    let (mut case, first, template) = awaiting(PolicySettings { concurrency: 1, ..with_templates() });
    let actions = case.step(Event::MemoryShort { replica: template, short: Bytes::new(1) });
    assert!(loads_for_itself(&actions, first) && actions.contains(&Action::Free { replica: template }), "{actions:?}");
    assert_eq!(case.policy.templates_held_back(case.now), None);
    let (_, actions) = next(&mut case);
    assert!(begun(&actions).is_some());
}

#[test]
fn a_replica_that_nobody_needs_any_more_does_not_await() {
    let (mut case, replica, _) = awaiting(with_templates());
    assert_eq!(case.step(Event::Cancel { waiter: WaiterId(1) }), [Action::Free { replica }]);
}

#[test]
fn who_waits_does_so_for_a_start() {
    let (mut case, _, _) = awaiting(with_templates());
    let late = Refusal::Deadline { place: crate::Place::Start };
    assert_eq!(refused(&case.pass(100 * SECOND)), [(1, late)]);
}

#[test]
fn a_template_that_fails_costs_nothing_but_templates() {
    type Fails = fn(&mut Case, ReplicaKey) -> Vec<Action>;
    let fails: [Fails; 4] = [
        |case, replica| case.step(Event::LoadFailed { replica, reason: "two threads".to_owned() }),
        |case, replica| case.step(Event::Exited { replica, cause: ExitCause::Code { code: 1 } }),
        |case, replica| case.step(Event::Refused { replica, reason: "no".to_owned() }),
        |case, _| case.pass(60 * SECOND),
    ];
    for fail in fails {
        let (mut case, first, template) = awaiting(PolicySettings { concurrency: 1, ..with_templates() });
        granted_memory(&mut case, template);
        let actions = fail(&mut case, template);
        assert!(loads_for_itself(&actions, first), "{actions:?}");
        assert!(actions.iter().any(|it| matches!(it, Action::Note(Note::TemplateFailed { .. }))), "{actions:?}");
        assert!(!case.policy.is_failed(case.now) && case.policy.templates_held_back(case.now).is_some());
        assert_eq!(granted(&fork(&mut case, first)), [(1, first)]);
        let (second, actions) = next(&mut case);
        assert!(loads_for_itself(&actions, second), "held back");
        case.step(Event::Exited { replica: template, cause: ExitCause::Stopped });
        case.step(Event::Removed { replica: template });
        case.step(Event::Cancel { waiter: WaiterId(2) });
        case.die(second);
        assert_eq!(case.policy.next_wake(case.now), Some(case.now.after(SECOND)), "its end is told");
        case.pass(SECOND);
        let (_, actions) = next(&mut case);
        assert!(begun(&actions).is_some(), "not held back any more");
    }
}

#[test]
fn a_fork_that_does_not_come_to_serve_costs_no_waiter_its_place() {
    type Fails = fn(&mut Case, ReplicaKey) -> Vec<Action>;
    let fails: [Fails; 4] = [
        |case, replica| {
            let mut actions = case.step(Event::LoadFailed { replica, reason: "no filter".to_owned() });
            actions.extend(case.die(replica));
            actions
        },
        |case, replica| case.die(replica),
        |case, replica| case.step(Event::Refused { replica, reason: "no group".to_owned() }),
        |case, replica| {
            let mut actions = case.pass(60 * SECOND);
            actions.extend(case.die(replica));
            actions
        },
    ];
    for fail in fails {
        let (mut case, replica, template) = awaiting(PolicySettings { max_replicas: 1, ..with_templates() });
        granted_memory(&mut case, template);
        case.step(Event::Ready { replica: template });
        let actions = fail(&mut case, replica);
        assert_eq!(refused(&actions), []);
        assert!(stopped(&actions, template), "{actions:?}");
        let again = reserved(&actions)[0];
        assert!(!case.policy.is_failed(case.now));
        let actions = granted_memory(&mut case, again);
        assert!(loads_for_itself(&actions, again), "{actions:?}");
        let failed = case.step(Event::Exited { replica: again, cause: ExitCause::Code { code: 1 } });
        assert!(matches!(refused(&failed)[..], [(1, Refusal::StartFailed { .. })]), "its own failure counts");
    }
}

#[test]
fn a_fork_that_runs_out_of_memory_as_it_starts_failed_as_any_start_does() {
    let (mut case, replica, template) = awaiting(with_templates());
    granted_memory(&mut case, template);
    case.step(Event::Ready { replica: template });
    let actions = case.step(Event::Exited { replica, cause: ExitCause::OutOfMemory { limit_bytes: 1 } });
    assert!(matches!(refused(&actions)[..], [(1, Refusal::StartFailed { .. })]));
    assert_eq!(case.policy.current_template(), Some((TemplateState::Ready, 0)));
}

#[test]
fn a_fork_that_crashes_is_forked_again() {
    let (mut case, first, template) = forked(with_templates());
    case.die(first);
    let (again, actions) = next(&mut case);
    assert_eq!(created(&actions), [(again, Role::Fork { template })]);
}

/// Serves one request and is killed by a signal.
fn serve_and_crash(case: &mut Case, replica: ReplicaKey) -> Vec<Action> {
    case.step(Event::Served { replica });
    case.step(Event::Release { replica });
    case.die(replica)
}

#[test]
fn a_template_whose_forks_are_killed_again_and_again_is_replaced_at_once() {
    let (mut case, mut replica, template) = forked(with_templates());
    for _ in 1..FORK_DEATHS_MAX {
        assert!(!stopped(&serve_and_crash(&mut case, replica), template));
        replica = next(&mut case).0;
        fork(&mut case, replica);
    }
    let actions = serve_and_crash(&mut case, replica);
    assert!(stopped(&actions, template), "{actions:?}");
    assert!(actions.iter().any(|it| matches!(it, Action::Note(Note::TemplateReplaced { .. }))));
    assert_eq!(case.policy.templates_held_back(case.now), None);
    let (_, actions) = next(&mut case);
    assert!(begun(&actions).is_some());
}

#[test]
fn deaths_far_apart_or_by_themselves_are_not_the_templates() {
    let (mut case, mut replica, template) = forked(with_templates());
    for _ in 0..2 * FORK_DEATHS_MAX {
        case.pass(FORK_DEATHS_WITHIN / 2);
        case.step(Event::Served { replica });
        case.step(Event::Release { replica });
        case.step(Event::Exited { replica, cause: ExitCause::Code { code: 1 } });
        case.step(Event::Removed { replica });
        let (again, actions) = next(&mut case);
        assert_eq!(created(&actions), [(again, Role::Fork { template })]);
        fork(&mut case, again);
        case.pass(FORK_DEATHS_WITHIN / 2);
        assert!(!stopped(&serve_and_crash(&mut case, again), template));
        replica = next(&mut case).0;
        fork(&mut case, replica);
    }
}

#[test]
fn the_end_of_a_template_is_one_death_and_not_the_endpoints() {
    let (mut case, first, template) = forked(PolicySettings { concurrency: 1, ..with_templates() });
    let (second, _) = next(&mut case);
    fork(&mut case, second);
    case.step(Event::Exited { replica: template, cause: ExitCause::Signal { signal: 11 } });
    for replica in [first, second] {
        case.step(Event::Exited { replica, cause: ExitCause::TemplateEnded });
        case.step(Event::Removed { replica });
    }
    case.step(Event::Removed { replica: template });
    assert!(!case.policy.is_failed(case.now));
    let (third, actions) = next(&mut case);
    assert!(loads_for_itself(&actions, third), "{actions:?}");
}

#[test]
fn a_template_is_kept_so_long_without_replicas() {
    let (mut case, replica, template) = forked(with_templates());
    case.step(Event::Release { replica });
    case.pass(1000 * SECOND);
    assert!(
        case.step(Event::Exited { replica, cause: ExitCause::Stopped })
            .contains(&Action::Report { replica: template, usage: Usage::TemplateAlone })
    );
    case.step(Event::Removed { replica });
    assert_eq!(case.policy.next_wake(case.now), Some(case.now.after(KEEP)));
    let (again, actions) = next(&mut case);
    assert_eq!(created(&actions), [(again, Role::Fork { template })]);
    assert!(actions.contains(&Action::Report { replica: template, usage: Usage::TemplateInUse }));
    fork(&mut case, again);
    case.die(again);
    assert!(stopped(&case.pass(KEEP), template));
    case.step(Event::Refused { replica: template, reason: "the kernel said no".to_owned() });
    assert!(stopped(&case.pass(STOP_RETRY), template));
    case.step(Event::Exited { replica: template, cause: ExitCause::Stopped });
    assert!(case.step(Event::Removed { replica: template }).contains(&Action::Free { replica: template }));
    assert_eq!(case.policy.templates_held_back(case.now), None, "that was no failure");
}

#[test]
fn what_is_evicted_without_replicas_is_stopped_and_with_them_ends_with_their_last_lease() {
    let (mut case, replica, template) = forked(with_templates());
    assert!(!stopped(&case.step(Event::Evict { replica: template }), template));
    assert!(stopped(&case.step(Event::Release { replica }), template), "it has nothing more to finish");

    let (mut case, replica, template) = forked(with_templates());
    case.die(replica);
    assert!(stopped(&case.step(Event::Evict { replica: template }), template));
}

#[test]
fn a_new_revision_and_a_drain_end_the_template_with_its_replicas() {
    type End = fn(Time) -> Event;
    let ends: [End; 2] =
        [|_| Event::NewRevision { settings: with_templates() }, |now| Event::Drain { until: now.after(30 * SECOND) }];
    for end in ends {
        let (mut case, replica, template) = forked(with_templates());
        let end = end(case.now);
        let drains = matches!(end, Event::Drain { .. });
        assert!(!stopped(&case.step(end), template));
        assert_eq!(case.policy.current_template(), None);
        assert!(stopped(&case.step(Event::Release { replica }), template));
        case.die(replica);
        assert!(!case.policy.is_over(), "the template is still there");
        case.die(template);
        assert_eq!(case.policy.is_over(), drains);
    }
}

#[test]
fn what_begins_as_it_is_drained_is_taken_back() {
    let (mut case, replica, template) = awaiting(with_templates());
    let actions = case.step(Event::Drain { until: case.now });
    for key in [replica, template] {
        assert!(actions.contains(&Action::Free { replica: key }), "{actions:?}");
    }
    assert!(case.policy.is_over());
}

#[test]
fn another_prepared_model_takes_another_template() {
    let (mut case, replica, template) = forked(with_templates());
    let same = with_templates().templates;
    case.step(Event::Prepared { templates: same });
    assert_eq!(case.policy.current_template(), Some((TemplateState::Ready, 1)));
    case.step(Event::Prepared { templates: None });
    assert_eq!(case.policy.current_template(), None);
    assert_eq!(case.policy.leases(), 1, "its replicas go on");
    assert!(stopped(&case.die(replica), template));
    let (second, actions) = next(&mut case);
    assert!(loads_for_itself(&actions, second));
}

fn adopt(case: &mut Case, state: AdoptedState, of: u8) -> (ReplicaKey, ReplicaKey, Vec<Action>) {
    let (fork, template) = (case.policy.new_key(), case.policy.new_key());
    case.step(Event::Adopt { replica: fork, state: AdoptedState::Ready, template: Some(template) });
    let actions = case.step(Event::AdoptTemplate { template, state, prepared: prepared(of) });
    (fork, template, actions)
}

#[test]
fn an_adopted_template_is_forked_from_and_an_unwanted_one_ends_with_its_replicas() {
    let mut case = Case::new(PolicySettings { concurrency: 1, ..with_templates() });
    let (fork, template, _) = adopt(&mut case, AdoptedState::Ready, 1);
    assert_eq!(granted(&case.acquire()), [(1, fork)]);
    let (second, actions) = next(&mut case);
    assert_eq!(created(&actions), [(second, Role::Fork { template })]);

    for (settings, state, of) in [
        (settings(), AdoptedState::Ready, 1),
        (with_templates(), AdoptedState::Ready, 2),
        (with_templates(), AdoptedState::Outdated, 1),
    ] {
        let mut case = Case::new(settings);
        let (fork, template, actions) = adopt(&mut case, state, of);
        assert!(!stopped(&actions, template) && case.policy.current_template().is_none());
        assert_eq!(granted(&case.acquire()), [(1, fork)], "it is as good as any");
        assert!(stopped(&case.die(fork), template));
    }
}

#[test]
fn replicas_that_must_run_are_forked_unasked() {
    let mut case = Case::new(PolicySettings { min_replicas: 2, ..with_templates() });
    let replicas = reserved(&case.step(Event::Tick));
    let template = begun(&granted_memory(&mut case, replicas[0])).unwrap();
    granted_memory(&mut case, replicas[1]);
    granted_memory(&mut case, template);
    let actions = case.step(Event::Ready { replica: template });
    assert_eq!(created(&actions).len(), 2);
    for replica in replicas {
        fork(&mut case, replica);
    }
    assert_eq!(case.policy.next_wake(case.now), None, "nothing rests");
}

use super::*;
use crate::policy::ExpectationId;

/// How long a client's body is waited for.
const WAIT: Duration = Duration::from_secs(20);

impl Case {
    fn expect(&mut self, number: u64) -> Vec<Action> {
        let until = self.now.after(WAIT);
        self.step(Event::Expect { expectation: ExpectationId(number), until })
    }

    fn unexpect(&mut self, number: u64) -> Vec<Action> {
        self.step(Event::Unexpect { expectation: ExpectationId(number) })
    }

    /// One replica that served, and was frozen.
    fn frozen(settings: PolicySettings) -> (Self, ReplicaKey) {
        let (mut case, replica) = Self::serving(settings);
        case.step(Event::Release { replica });
        case.pass(10 * SECOND);
        case.step(Event::Frozen { replica });
        (case, replica)
    }
}

#[test]
fn a_head_begins_the_wake_that_its_request_gets() {
    let mut case = Case::new(settings());
    let replica = reserved(&case.expect(1))[0];
    assert_eq!(granted(&case.start(replica)), [], "nothing is granted for a head");
    assert_eq!(granted(&case.acquire()), [(1, replica)]);
    assert_eq!(case.unexpect(1), []);
}

#[test]
fn a_thousand_heads_wake_one_replica() {
    let mut case = Case::new(PolicySettings { max_replicas: 10, ..settings() });
    let started: usize = (0..1000).map(|number| reserved(&case.expect(number)).len()).sum();
    assert_eq!(started, 1);
    assert_eq!(reserved(&case.start(ReplicaKey(1))).len(), 0);
}

#[test]
fn a_head_thaws_and_keeps_from_rest_until_its_request_comes() {
    let (mut case, replica) = Case::frozen(settings());
    assert_eq!(case.expect(1)[0], Action::Thaw { replica });
    case.step(Event::Thawed { replica, unasked: false });
    assert_eq!(case.pass(WAIT - SECOND), [], "idle for long, and kept");
    assert_eq!(granted(&case.acquire()), [(2, replica)]);
}

#[test]
fn who_goes_away_leaves_the_replica_to_rest_and_takes_a_reservation_back() {
    let (mut case, replica) = Case::frozen(settings());
    case.expect(1);
    assert_eq!(case.unexpect(1)[0], Action::Freeze { replica });
    assert_eq!(case.expect(2), [], "heads that come to nothing wake it once");
    assert_eq!(granted(&case.acquire()), [(2, replica)]);

    let mut case = Case::new(settings());
    let replica = reserved(&case.expect(1))[0];
    assert_eq!(case.unexpect(1), [Action::Free { replica }]);
}

#[test]
fn heads_without_bodies_keep_a_replica_for_one_clients_wait_and_wake_it_once() {
    let (mut case, replica) = Case::frozen(settings());
    assert_eq!(case.expect(1)[0], Action::Thaw { replica });
    for number in 2..20 {
        case.now = case.now.after(SECOND);
        assert_eq!(case.expect(number), []);
    }
    assert_eq!(case.pass(2 * SECOND)[0], Action::Freeze { replica }, "though eighteen are waited for");
    case.step(Event::Frozen { replica });
    case.pass(100 * SECOND);
    assert_eq!(case.expect(20), [], "none is believed until a request comes whole");
    assert_eq!(
        case.policy.next_wake(case.now),
        Some(Time::default().after(300 * SECOND)),
        "and none keeps it from zero"
    );

    assert_eq!(granted(&case.acquire()), [(2, replica)]);
    case.step(Event::Release { replica });
    case.unexpect(20);
    case.pass(10 * SECOND);
    assert_eq!(case.expect(21)[0], Action::Thaw { replica }, "believed again");
}

#[test]
fn a_head_starts_nothing_in_back_off_or_while_draining() {
    let mut case = Case::new(settings());
    let replica = reserved(&case.expect(1))[0];
    case.step(Event::MemoryGranted { replica });
    case.step(Event::LoadFailed { replica, reason: "no such op".to_owned() });
    case.die(replica);
    assert_eq!(case.expect(2), []);
    assert!(matches!(refused(&case.acquire())[..], [(1, Refusal::BackOff { .. })]));

    let mut case = Case::new(settings());
    let until = case.now.after(30 * SECOND);
    case.step(Event::Drain { until });
    assert_eq!(case.expect(1), []);
}

//! Every event in every state that a spawner and a ledger can bring about.

use std::collections::{BTreeMap, BTreeSet};

use dormouse_sandbox::messages::ExitCause;
use proptest::prelude::*;

use super::*;
use crate::policy::{AdoptedState, ExpectationId, Role, Usage};

/// What may happen next; numbers choose among the replicas and waiters that are there.
#[derive(Debug, Clone)]
enum Step {
    Acquire {
        seconds: u64,
    },
    Cancel {
        index: usize,
    },
    /// The head of a request comes, whose body is waited for so long.
    Expect {
        seconds: u64,
    },
    /// Its body comes, or its client goes away.
    Unexpect {
        index: usize,
        comes: bool,
    },
    Release {
        index: usize,
        served: bool,
    },
    /// The ledger or the spawner answers the oldest thing it was asked about one replica.
    Answer {
        index: usize,
        well: bool,
    },
    /// What it was asked for was made of a container of the pool.
    Claim {
        index: usize,
    },
    Crash {
        index: usize,
    },
    Evict {
        index: usize,
    },
    /// Somebody whose request was not answered in time finds that nothing is.
    Silent {
        index: usize,
    },
    /// Somebody's request was refused in it.
    Deaf {
        index: usize,
    },
    /// Its liveness probe fails.
    Unwell {
        index: usize,
    },
    /// Its readiness probe goes well, or fails.
    Look {
        index: usize,
        well: bool,
    },
    /// Somebody looks at it, or is done.
    Doubt {
        index: usize,
        doubted: bool,
    },
    /// The spawner could not do what it was asked last of a replica that runs.
    Refuse {
        index: usize,
    },
    Adopt {
        state: AdoptedState,
    },
    /// A template with replicas of it that outlived the node process.
    AdoptTemplate {
        state: AdoptedState,
        forks: u8,
    },
    /// Another model was prepared, or none, or the same once more.
    Prepared {
        templates: Option<TemplateSettings>,
    },
    /// Any fact about any replica, in any order: nothing may panic or break an invariant.
    Stray {
        index: usize,
        fact: u8,
    },
    Pass {
        seconds: u64,
    },
    NewRevision {
        settings: PolicySettings,
    },
    Drain,
}

fn any_settings() -> impl Strategy<Value = PolicySettings> {
    (0..3_u32, 0..3_u32, 1..4_u32, 1..6_u32, any_templates()).prop_map(|(min, more, concurrency, queue, templates)| {
        PolicySettings {
            min_replicas: min,
            max_replicas: (min + more).max(1),
            concurrency,
            queue_waiters_max: queue,
            templates,
            ..settings()
        }
    })
}

fn any_templates() -> impl Strategy<Value = Option<TemplateSettings>> {
    let on = (1..1000_u64, 1..3_u8)
        .prop_map(|(keep, model)| TemplateSettings { keep: Duration::from_secs(keep), prepared: prepared(model) });
    proptest::option::weighted(0.7, on)
}

fn step() -> impl Strategy<Value = Step> {
    let adopted = prop_oneof![
        Just(AdoptedState::Loading),
        Just(AdoptedState::Ready),
        Just(AdoptedState::Frozen),
        Just(AdoptedState::Outdated),
        Just(AdoptedState::Stopping)
    ];
    prop_oneof![
        20 => (1..200_u64).prop_map(|seconds| Step::Acquire { seconds }),
        3 => any::<usize>().prop_map(|index| Step::Cancel { index }),
        6 => (1..30_u64).prop_map(|seconds| Step::Expect { seconds }),
        4 => (any::<usize>(), any::<bool>()).prop_map(|(index, comes)| Step::Unexpect { index, comes }),
        12 => (any::<usize>(), any::<bool>()).prop_map(|(index, served)| Step::Release { index, served }),
        30 => (any::<usize>(), proptest::bool::weighted(0.8)).prop_map(|(index, well)| Step::Answer { index, well }),
        6 => any::<usize>().prop_map(|index| Step::Claim { index }),
        3 => any::<usize>().prop_map(|index| Step::Crash { index }),
        3 => any::<usize>().prop_map(|index| Step::Evict { index }),
        2 => any::<usize>().prop_map(|index| Step::Silent { index }),
        2 => any::<usize>().prop_map(|index| Step::Deaf { index }),
        2 => any::<usize>().prop_map(|index| Step::Unwell { index }),
        8 => (any::<usize>(), any::<bool>()).prop_map(|(index, well)| Step::Look { index, well }),
        4 => (any::<usize>(), any::<bool>()).prop_map(|(index, doubted)| Step::Doubt { index, doubted }),
        1 => any::<usize>().prop_map(|index| Step::Refuse { index }),
        1 => adopted.clone().prop_map(|state| Step::Adopt { state }),
        1 => (adopted, 0..3_u8).prop_map(|(state, forks)| Step::AdoptTemplate { state, forks }),
        1 => any_templates().prop_map(|templates| Step::Prepared { templates }),
        4 => (any::<usize>(), 0..6_u8).prop_map(|(index, fact)| Step::Stray { index, fact }),
        10 => prop_oneof![Just(1_u64), Just(10), Just(61), Just(301)].prop_map(|seconds| Step::Pass { seconds }),
        1 => any_settings().prop_map(|settings| Step::NewRevision { settings }),
        1 => Just(Step::Drain),
    ]
}

/// What the outside knows of a replica.
#[derive(Debug, Default)]
struct Outside {
    /// Memory was asked for, and neither granted nor taken back.
    reserved: bool,
    created: bool,
    alive: bool,
    stopping: bool,
    ready: bool,
    /// Told to freeze, and not to thaw since.
    frozen: bool,
    /// It was seen not to take requests while it was awake, and not seen to take them since.
    unready: bool,
    doubted: bool,
    leases: u32,
    old: bool,
    is_template: bool,
    /// The template that it is forked from.
    template: Option<ReplicaKey>,
}

struct World {
    policy: EndpointPolicy,
    settings: PolicySettings,
    now: Time,
    replicas: BTreeMap<ReplicaKey, Outside>,
    waiting: BTreeSet<WaiterId>,
    waiters: u64,
    /// Heads that came, and until when their bodies are waited for.
    expected: BTreeMap<ExpectationId, Time>,
    expectations: u64,
    /// How long the first head is waited for since a request came; in the past where all came to nothing.
    believed_until: Option<Time>,
    adopted: bool,
}

impl World {
    fn happen(&mut self, event: Event) {
        let is_only_a_head = matches!(event, Event::Expect { .. }) && self.waiting.is_empty();
        let actions = self.policy.step(self.now, event);
        self.expected.retain(|_, until| *until > self.now);
        if self.expected.is_empty() && self.believed_until.is_some() {
            self.believed_until = Some(Time::default());
        }
        let began = reserved(&actions).len() + actions.iter().filter(|it| matches!(it, Action::Thaw { .. })).count();
        assert!(!is_only_a_head || began <= 1.max(self.settings.min_replicas as usize), "heads woke {began} replicas");
        for action in actions {
            self.obey(&action);
        }
        self.check();
    }

    /// Does what the action says, and complains about one that makes no sense.
    fn obey(&mut self, action: &Action) {
        match *action {
            Action::Reserve { replica } => {
                let is_new = self.replicas.insert(replica, Outside { reserved: true, ..Outside::default() }).is_none();
                assert!(is_new, "a key was used twice");
            }
            Action::Free { replica } => {
                let outside = self.replicas.remove(&replica).expect("freed what is not there");
                assert!(!outside.alive, "freed what lives");
            }
            Action::ReserveFree { template } => {
                let outside = Outside { reserved: true, is_template: true, ..Outside::default() };
                assert!(self.replicas.insert(template, outside).is_none(), "a key was used twice");
            }
            Action::Await { replica } => {
                let outside = &self.replicas[&replica];
                assert!(!outside.created && !outside.reserved && !outside.is_template, "awaits without memory");
            }
            Action::Create { replica, role } => self.create(replica, role),
            Action::Freeze { replica } => {
                let outside = self.replicas.get_mut(&replica).expect("froze what is not there");
                assert!(outside.alive && outside.ready && outside.leases == 0, "froze what does not idle");
                assert!(!outside.unready, "froze what is not ready");
                assert!(!outside.doubted, "froze what is looked at");
                outside.frozen = true;
            }
            Action::Thaw { replica } => {
                let outside = self.replicas.get_mut(&replica).expect("thawed what is not there");
                assert!(outside.alive);
                outside.frozen = false;
            }
            Action::Stop { replica, .. } => {
                let outside = self.replicas.get_mut(&replica).expect("stopped what is not there");
                assert!(outside.alive, "stopped the dead");
                let is_again = std::mem::replace(&mut outside.stopping, true);
                let serves = |it: &Outside| it.alive && !it.stopping && it.template == Some(replica);
                assert!(is_again || !self.replicas.values().any(serves), "stopped a template with replicas that serve");
            }
            Action::Grant { waiter, replica } => {
                assert!(self.waiting.remove(&waiter), "answered twice, or who did not wait");
                let outside = self.replicas.get_mut(&replica).expect("granted what is not there");
                assert!(outside.alive && outside.ready && !outside.stopping && !outside.old, "granted {outside:?}");
                assert!(!outside.unready, "granted {outside:?}");
                outside.leases += 1;
                assert!(outside.leases <= self.settings.concurrency, "more leases than one replica serves");
            }
            Action::Refuse { waiter, .. } => {
                assert!(self.waiting.remove(&waiter), "answered twice, or who did not wait");
            }
            Action::Report { replica, usage } => {
                let of_template = matches!(usage, Usage::TemplateInUse | Usage::TemplateAlone);
                assert!(usage == Usage::Leaving || of_template == self.replicas[&replica].is_template);
            }
            Action::Note(_) => {}
        }
    }

    fn create(&mut self, key: ReplicaKey, role: Role) {
        let template = match role {
            Role::Fork { template } => {
                let it = &self.replicas[&template];
                assert!(it.is_template && it.alive && it.ready && !it.stopping && !it.old, "forked from {it:?}");
                Some(template)
            }
            Role::Template { prepared } => {
                assert_eq!(self.settings.templates.map(|it| it.prepared), Some(prepared), "none is wanted");
                None
            }
            Role::Serve => None,
        };
        let outside = self.replicas.get_mut(&key).expect("created what is not there");
        assert!(!outside.created && !outside.reserved, "created without memory or twice");
        assert_eq!(outside.is_template, matches!(role, Role::Template { .. }), "created as something else");
        (outside.created, outside.alive, outside.template) = (true, true, template);
    }

    fn check_templates(&self) {
        let current: Vec<_> =
            self.policy.templates.iter().filter(|(_, it)| !it.condemned && it.state.lives()).collect();
        assert!(current.len() <= 1, "two templates that are forked from");
        assert!(current.is_empty() || (self.settings.templates.is_some() && !self.policy.is_draining()));
        for (key, _) in self.policy.templates.iter() {
            assert!(self.replicas[&key].is_template);
        }
        for replica in self.policy.replicas.values() {
            if let State::Awaiting { template } = replica.state {
                let on_its_way = current.iter().any(|(key, it)| *key == template && it.state.starts());
                assert!(on_its_way, "it awaits what does not come");
            }
        }
    }

    fn check(&self) {
        self.check_templates();
        assert_eq!(self.policy.waiters() as usize, self.waiting.len());
        assert!(self.waiting.len() <= self.settings.queue_waiters_max as usize);
        let leases: u32 = self.replicas.values().map(|outside| outside.leases).sum();
        assert_eq!(self.policy.leases(), leases);
        let current = self.policy.replicas.values().filter(|replica| replica.lives()).count();
        // What is adopted is there, however many it is.
        assert!(self.adopted || current <= self.settings.max_replicas as usize, "too many replicas");
        if !self.waiting.is_empty() {
            let wake = self.policy.next_wake(self.now);
            assert!(wake.is_some_and(|wake| wake > self.now), "waiters and nothing to wake them");
        }
        self.check_floor();
        self.check_rest();
    }

    /// As many replicas as must run for whom nobody acquired anything: a head counts as one for a while.
    fn floor(&self) -> u32 {
        let is_believed = self.believed_until.is_none_or(|until| until > self.now);
        self.settings.min_replicas.max(u32::from(is_believed && !self.expected.is_empty()))
    }

    /// Replicas that must run do, or nothing may start, or the room is taken by what is ending.
    fn check_floor(&self) {
        let accepting = self.policy.count(Replica::awake);
        let lives = self.policy.count(Replica::lives);
        assert!(
            accepting >= self.floor()
                || self.policy.is_draining()
                || self.policy.back_off.holds(self.now).is_some()
                || lives >= self.settings.max_replicas,
            "fewer than must run"
        );
    }

    /// Nothing that is not ready is kept for ever, but for as many replicas as must run.
    fn check_rest(&self) {
        let runs = self.policy.count(|replica| replica.state.runs());
        let idles = |it: &Replica| it.state.unready().is_some() && it.leases == 0;
        if self.waiting.is_empty() && runs > self.policy.floor(self.now) && self.policy.replicas.values().any(idles) {
            let wake = self.policy.next_wake(self.now);
            assert!(wake.is_some_and(|wake| wake <= self.now.after(self.settings.zero_after)), "kept: {wake:?}");
        }
    }

    fn pick(&self, index: usize, is: impl Fn(&Outside) -> bool) -> Option<ReplicaKey> {
        let keys: Vec<_> = self.replicas.iter().filter(|(_, outside)| is(outside)).map(|(key, _)| *key).collect();
        (!keys.is_empty()).then(|| keys[index % keys.len()])
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Acquire { seconds } => {
                self.waiters += 1;
                let waiter = WaiterId(self.waiters);
                self.waiting.insert(waiter);
                self.believed_until = None;
                let deadline = self.now.after(Duration::from_secs(*seconds));
                self.happen(Event::Acquire { waiter, deadline });
            }
            Step::Cancel { index } => {
                let waiters: Vec<_> = self.waiting.iter().copied().collect();
                if !waiters.is_empty() {
                    let waiter = waiters[index % waiters.len()];
                    self.waiting.remove(&waiter);
                    self.happen(Event::Cancel { waiter });
                }
            }
            Step::Expect { seconds } => {
                self.expectations += 1;
                let (expectation, until) =
                    (ExpectationId(self.expectations), self.now.after(Duration::from_secs(*seconds)));
                self.expected.insert(expectation, until);
                self.believed_until.get_or_insert(until);
                self.happen(Event::Expect { expectation, until });
            }
            Step::Unexpect { index, comes } => {
                let expected: Vec<_> = self.expected.keys().copied().collect();
                if !expected.is_empty() {
                    let expectation = expected[index % expected.len()];
                    if *comes {
                        self.step(&Step::Acquire { seconds: 100 });
                    }
                    self.expected.remove(&expectation);
                    self.happen(Event::Unexpect { expectation });
                }
            }
            Step::Release { index, served } => {
                if let Some(replica) = self.pick(*index, |outside| outside.leases > 0) {
                    if *served {
                        self.happen(Event::Served { replica });
                    }
                    self.replicas.get_mut(&replica).unwrap().leases -= 1;
                    self.happen(Event::Release { replica });
                }
            }
            Step::Answer { index, well } => {
                if let Some(replica) = self.pick(*index, |_| true) {
                    self.answer(replica, *well);
                }
            }
            Step::Claim { index } => {
                if let Some(replica) =
                    self.pick(*index, |it| it.created && !it.ready && it.alive && it.template.is_none())
                {
                    self.happen(Event::Created { replica, claimed: true });
                }
            }
            Step::Crash { index } => {
                if let Some(replica) = self.pick(*index, |outside| outside.alive) {
                    self.die(replica, ExitCause::Signal { signal: 9 });
                }
            }
            Step::Evict { index } => {
                if let Some(replica) = self.pick(*index, |outside| outside.ready && outside.alive) {
                    self.happen(Event::Evict { replica });
                }
            }
            Step::Silent { index } => {
                if let Some(replica) = self.pick(*index, |outside| outside.leases > 0) {
                    self.happen(Event::Silent { replica });
                }
            }
            Step::Deaf { index } => {
                if let Some(replica) = self.pick(*index, |outside| outside.ready && outside.alive) {
                    self.happen(Event::Deaf { replica });
                }
            }
            Step::Unwell { index } => {
                if let Some(replica) = self.pick(*index, |outside| outside.ready && outside.alive) {
                    self.happen(Event::Unwell { replica, cause: "liveness probe".to_owned() });
                }
            }
            Step::Look { index, well } => {
                if let Some(replica) = self.pick(*index, |outside| outside.ready && outside.alive) {
                    let outside = self.replicas.get_mut(&replica).unwrap();
                    outside.unready = !well && !outside.frozen;
                    self.happen(match well {
                        true => Event::ReadyAgain { replica },
                        false => Event::Unready { replica, cause: "readiness probe".to_owned() },
                    });
                }
            }
            Step::Doubt { index, doubted } => {
                if let Some(replica) = self.pick(*index, |outside| outside.ready && outside.alive) {
                    self.replicas.get_mut(&replica).unwrap().doubted = *doubted;
                    self.happen(Event::Doubted { replica, doubted: *doubted });
                }
            }
            Step::Refuse { index } => {
                if let Some(replica) = self.pick(*index, |outside| outside.ready && outside.alive) {
                    self.happen(Event::Refused { replica, reason: "the kernel said no".to_owned() });
                }
            }
            Step::Adopt { state } => self.adopt(*state, None),
            Step::AdoptTemplate { state, forks } => self.adopt_template(*state, *forks),
            Step::Prepared { templates } => {
                self.settings.templates = *templates;
                self.happen(Event::Prepared { templates: *templates });
            }
            Step::Stray { index, fact } => {
                let replica = self.pick(*index, |outside| outside.ready).unwrap_or(ReplicaKey(999_999));
                self.happen(match fact {
                    0 => Event::Frozen { replica },
                    1 => Event::Thawed { replica, unasked: true },
                    2 => Event::Thawed { replica, unasked: false },
                    3 => Event::Created { replica, claimed: false },
                    4 => Event::Seen { replica, what: "nothing listens".to_owned() },
                    _ => Event::MemoryGranted { replica: ReplicaKey(999_999) },
                });
            }
            Step::Pass { seconds } => self.pass(Duration::from_secs(*seconds)),
            Step::NewRevision { settings } => {
                self.replicas.values_mut().for_each(|outside| outside.old = true);
                self.settings = settings.clone();
                self.adopted = false;
                self.happen(Event::NewRevision { settings: settings.clone() });
            }
            Step::Drain => {
                let until = self.now.after(30 * SECOND);
                self.happen(Event::Drain { until });
            }
        }
    }

    /// The next thing the ledger or the spawner tells of a replica.
    fn answer(&mut self, replica: ReplicaKey, well: bool) {
        let outside = self.replicas.get_mut(&replica).unwrap();
        if outside.reserved {
            if well {
                outside.reserved = false;
                self.happen(Event::MemoryGranted { replica });
            } else {
                self.happen(Event::MemoryShort { replica, short: dormouse_spec::Bytes::new(1) });
            }
        } else if !outside.alive {
            self.happen(Event::Removed { replica });
        } else if outside.stopping {
            self.die(replica, ExitCause::Stopped);
        } else if !outside.ready && well {
            outside.ready = true;
            self.happen(Event::Ready { replica });
        } else if !outside.ready {
            self.happen(Event::LoadFailed { replica, reason: "no such op".to_owned() });
        }
    }

    fn die(&mut self, replica: ReplicaKey, cause: ExitCause) {
        let outside = self.replicas.get_mut(&replica).unwrap();
        (outside.alive, outside.ready, outside.leases) = (false, false, 0);
        self.happen(Event::Exited { replica, cause });
        let forks = self.replicas.iter().filter(|(_, it)| it.alive && it.template == Some(replica));
        for fork in forks.map(|(fork, _)| *fork).collect::<Vec<_>>() {
            self.die(fork, ExitCause::TemplateEnded);
        }
    }

    /// Replicas first, as the task tells them.
    fn adopt_template(&mut self, state: AdoptedState, forks: u8) {
        if self.policy.is_draining() {
            return;
        }
        let template = self.policy.new_key();
        for _ in 0..forks {
            self.adopt(if state == AdoptedState::Outdated { state } else { AdoptedState::Ready }, Some(template));
        }
        let ready = !matches!(state, AdoptedState::Loading);
        let (stopping, old) = (state == AdoptedState::Stopping, state == AdoptedState::Outdated);
        let outside =
            Outside { created: true, alive: true, is_template: true, ready, stopping, old, ..Outside::default() };
        self.replicas.insert(template, outside);
        self.happen(Event::AdoptTemplate { template, state, prepared: prepared(1) });
    }

    fn adopt(&mut self, state: AdoptedState, template: Option<ReplicaKey>) {
        if self.policy.is_draining() {
            return;
        }
        let replica = self.policy.new_key();
        let ready = matches!(state, AdoptedState::Ready | AdoptedState::Frozen);
        let (stopping, old) = (state == AdoptedState::Stopping, state == AdoptedState::Outdated);
        let frozen = state == AdoptedState::Frozen;
        let outside =
            Outside { created: true, alive: true, ready, frozen, stopping, old, template, ..Outside::default() };
        self.replicas.insert(replica, outside);
        self.adopted = true;
        self.happen(Event::Adopt { replica, state, template });
    }

    /// Time passes as it does for the task: with a tick whenever the policy asked for one.
    fn pass(&mut self, time: Duration) {
        let end = self.now.after(time);
        while let Some(wake) = self.policy.next_wake(self.now).filter(|wake| *wake <= end) {
            assert!(wake > self.now, "it wakes again and again at one moment: {:?}", self.policy);
            self.now = wake;
            self.happen(Event::Tick);
        }
        self.now = end;
        self.happen(Event::Tick);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn no_order_of_events_breaks_an_invariant(
        settings in any_settings(),
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        let mut world = World {
            policy: EndpointPolicy::new(settings.clone()),
            settings,
            now: Time::default(),
            replicas: BTreeMap::new(),
            waiting: BTreeSet::new(),
            waiters: 0,
            expected: BTreeMap::new(),
            expectations: 0,
            believed_until: None,
            adopted: false,
        };
        for step in &steps {
            world.step(step);
        }
        // Whatever happened: everybody is answered, at the latest by their deadline.
        world.pass(300 * SECOND);
        prop_assert!(world.waiting.is_empty());
        // And a drain ends once the world does what it was told.
        world.step(&Step::Drain);
        world.pass(30 * SECOND);
        for _ in 0..8 {
            let keys: Vec<_> = world.replicas.keys().copied().collect();
            keys.into_iter().for_each(|key| if world.replicas.contains_key(&key) { world.answer(key, true) });
        }
        prop_assert!(world.policy.is_over(), "{:?}", world.policy);
    }
}

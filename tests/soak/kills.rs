//! SIGKILLs at random moments, while clients call and operators deploy and delete.

use std::{collections::BTreeMap, sync::Mutex, thread, time::Duration};

use dormouse_tests::{Daemon, Home, processes, wait::until};
use rustix::process::Signal;

use crate::{
    answers::Allowed,
    desired::{Desired, compare},
    hunt::{self, Prey},
    load::{Enough, World},
    operator::{Operator, Origin, Outcome, Rest},
    progress::Progress,
    random::Random,
    report::Report,
};

const CLIENTS: usize = 4;
const OPERATORS: usize = 2;
/// Names that each operator deploys and deletes again and again.
const NAMES: usize = 4;
/// What is killed; each at least once where there are as many kills. A daemon costs a start, and nodes
/// that die in a row are started ever later, so of these there are few.
const EACH: [Target; 8] = [
    Target::Daemon,
    Target::Node,
    Target::Of(Prey::Removal),
    Target::Of(Prey::Creation),
    Target::Of(Prey::HalfMade),
    Target::Of(Prey::Replica),
    Target::Of(Prey::Template),
    Target::Of(Prey::Server),
];
/// What most kills are of: what runs a request, more than the rest.
const OFTEN: [Prey; 7] =
    [Prey::Replica, Prey::Replica, Prey::Template, Prey::Server, Prey::Creation, Prey::HalfMade, Prey::Removal];
/// In how many of twenty of the others it is the daemon and the node.
const DAEMONS_OF_20: u64 = 1;
const NODES_OF_20: u64 = 2;
/// Between two kills, and between two calls of one client, so that endpoints come to rest.
const KILL_PAUSE_MAX: Duration = Duration::from_millis(120);
const CALL_PAUSE_MAX: Duration = Duration::from_millis(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Daemon,
    Node,
    Of(Prey),
}

/// Kills, and tells what is wrong afterwards. The daemon that is given back is another one.
pub(crate) fn run(
    world: &World,
    daemon: Daemon,
    base: &[String],
    kills: u64,
    random: &mut Random,
    report: &mut Report,
) -> Daemon {
    let home = daemon.home_shared();
    let names = |operator: usize| (0..NAMES).map(|name| format!("k{operator}-{name}")).collect::<Vec<String>>();
    let all: Vec<String> = (0..OPERATORS).flat_map(names).chain(base.iter().cloned()).collect();
    let desired = Mutex::new(BTreeMap::new());
    let daemon = thread::scope(|scope| {
        let _enough = Enough(world);
        for _ in 0..CLIENTS {
            let mut random = random.child();
            let all = &all;
            scope.spawn(move || clients(world, all, base, &mut random));
        }
        for operator in 0..OPERATORS {
            let mut random = random.child();
            let (home, desired) = (&home, &desired);
            scope.spawn(move || {
                let known = operate(world, home, &names(operator), &mut random);
                desired.lock().unwrap().extend(known);
            });
        }
        let mut killer = Killer { world, daemon: Some(daemon), random: random.child(), report };
        let progress = Progress::begin(format!("{}: kills under load", world.worker.name()), kills);
        for target in targets(kills, &mut killer.random) {
            killer.random.pause(KILL_PAUSE_MAX);
            killer.kill(target);
            progress.step();
        }
        progress.end();
        killer.daemon.take().expect("a daemon")
    });
    let mut desired = desired.into_inner().unwrap();
    for name in base {
        desired.entry(name.clone()).or_default().deployed(&Outcome::Acknowledged { revision: 1 }).unwrap();
    }
    let listed = until("the daemon tells its endpoints", || world.admin("/v1/endpoints").filter(|it| it.status == 200));
    for difference in compare(&desired, &listed.json()) {
        world.answers.wrong(format!("after the kills {difference}"));
    }
    // All of them serve, whatever happened to their replicas.
    for name in base {
        until(format!("{name} answers again"), || {
            let before = world.answers.counted().get("right answers").copied();
            world.call(name, Allowed::Failures);
            (world.answers.counted().get("right answers").copied() > before).then_some(())
        });
    }
    remove_all(&daemon, world, desired.keys().filter(|name| !base.contains(name)));
    daemon
}

fn targets(kills: u64, random: &mut Random) -> Vec<Target> {
    let any = |random: &mut Random| match random.within(0..20) {
        of_20 if of_20 < DAEMONS_OF_20 => Target::Daemon,
        of_20 if of_20 < DAEMONS_OF_20 + NODES_OF_20 => Target::Node,
        _ => Target::Of(*random.choose(&OFTEN)),
    };
    let mut targets: Vec<Target> = EACH.into_iter().take(kills as usize).collect();
    targets.extend((targets.len() as u64..kills).map(|_| any(random)));
    random.shuffle(&mut targets);
    targets
}

fn clients(world: &World, all: &[String], base: &[String], random: &mut Random) {
    while !world.has_enough() {
        let endpoint = random.choose(all);
        let stays = base.contains(endpoint);
        world.call(endpoint, if stays { Allowed::Failures } else { Allowed::FailuresAndNotThere });
        random.pause(CALL_PAUSE_MAX);
    }
}

/// Deploys and deletes until it is enough; tells what may be there then.
fn operate(world: &World, home: &Home, names: &[String], random: &mut Random) -> BTreeMap<String, Desired> {
    let operator = Operator { home, world };
    let mut known: BTreeMap<String, Desired> = names.iter().map(|name| (name.clone(), Desired::default())).collect();
    while !world.has_enough() {
        let name = random.choose(names);
        let desired = known.get_mut(name).expect("one of the names");
        let outcome = if random.within(0..3) == 0 {
            let outcome = operator.delete(name);
            desired.deleted(&outcome).map(|()| ("deletes", outcome))
        } else {
            let salt = format!("{name} {}", random.within(0..3));
            let rest = *random.choose(&[Rest::Zero, Rest::FreezeThenZero, Rest::Freeze]);
            let outcome = operator.deploy(name, &salt, (*random.choose(&Origin::ALL), rest));
            desired.deployed(&outcome).map(|()| ("deploys", outcome))
        };
        match outcome {
            Ok((what, outcome)) => world.answers.count(&format!("{what} {}", outcome.word())),
            Err(wrong) => world.answers.wrong(format!("{name}: {wrong}")),
        }
        random.pause(CALL_PAUSE_MAX);
    }
    known
}

/// Endpoints that failed to be deployed are shown too, so every name is deleted.
fn remove_all<'a>(daemon: &Daemon, world: &World, names: impl Iterator<Item = &'a String>) {
    let operator = Operator { home: daemon.home(), world };
    for name in names {
        match operator.delete(name) {
            Outcome::Refused { reason } if !reason.contains("there is no endpoint named") => {
                world.answers.wrong(format!("{name} cannot be deleted: {reason}"));
            }
            _ => {}
        }
    }
}

struct Killer<'a> {
    world: &'a World,
    /// None only while another one is started.
    daemon: Option<Daemon>,
    random: Random,
    report: &'a mut Report,
}

impl Killer<'_> {
    fn kill(&mut self, target: Target) {
        let killed = match target {
            Target::Node => {
                self.kill_node();
                "node"
            }
            Target::Daemon => {
                self.kill_daemon();
                "daemon"
            }
            Target::Of(wanted) => {
                let daemon = self.daemon();
                let Some(prey) = hunt::kill_one(daemon.pid(), daemon.instance(), wanted) else {
                    return self.world.answers.wrong(format!("nothing was there to be killed, not even a {wanted:?}"));
                };
                prey.name()
            }
        };
        self.report.killed(killed);
    }

    fn daemon(&self) -> &Daemon {
        self.daemon.as_ref().expect("a daemon")
    }

    /// The node is killed in the middle of something, as often as not.
    fn kill_node(&mut self) {
        let in_the_act = self.random.within(0..2) == 0;
        let deaths = &self.world.answers.deaths;
        let daemon = self.daemon();
        let node = daemon.node_pid();
        if in_the_act {
            hunt::until_busy(daemon.pid(), daemon.instance());
        }
        deaths.of_node(|| {
            processes::kill(node, Signal::KILL);
            until("another node process", || processes::child(daemon.pid(), "node").filter(|it| *it != node));
            until("the node answers", || self.world.admin("/v1/node").filter(|answer| answer.status == 200));
        });
    }

    fn kill_daemon(&mut self) {
        let daemon = self.daemon.take().expect("a daemon");
        if self.random.within(0..2) == 0 {
            hunt::until_busy(daemon.pid(), daemon.instance());
        }
        self.daemon = Some(self.world.answers.deaths.of_daemon(|| {
            let daemon = daemon.kill().start_again();
            self.world.moved_to(daemon.address());
            daemon
        }));
    }
}

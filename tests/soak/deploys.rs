//! Endpoints that come and go: deployed, used in one way or another, deleted.

use std::{ops::Range, thread};

use dormouse_tests::{Home, Request, wait::until_true};

use crate::{
    answers::{Allowed, Told},
    load::World,
    operator::{Operator, Origin, Rest, must},
    progress::Progress,
    random::Random,
};

const OPERATORS: u64 = 3;
/// Requests that a delete finds under way.
const CALLS_MAX: u64 = 3;

/// What happens between the deploy and the end of the delete.
#[derive(Debug, Clone, Copy)]
enum Use {
    Nothing,
    Called,
    Frozen,
    Redeployed,
    /// Called while it is deleted: starting, serving or draining, as it comes.
    CalledMeanwhile,
}

const USES: [Use; 5] = [Use::Nothing, Use::Called, Use::Frozen, Use::Redeployed, Use::CalledMeanwhile];

pub(crate) fn run(world: &World, home: &Home, numbers: Range<u64>, random: &mut Random) {
    let deploys = numbers.end - numbers.start;
    let progress = Progress::begin(format!("{}: deploys and deletes", world.worker.name()), deploys);
    thread::scope(|scope| {
        for operator in 0..OPERATORS {
            let (mut random, progress) = (random.child(), &progress);
            let own = (numbers.start + operator..numbers.end).step_by(OPERATORS as usize);
            scope.spawn(move || {
                for number in own {
                    // No name comes twice: what is kept of each would add up.
                    one(world, home, &format!("d{number}"), &mut random);
                    progress.step();
                }
            });
        }
    });
    progress.end();
}

fn one(world: &World, home: &Home, name: &str, random: &mut Random) {
    let operator = Operator { home, world };
    let use_of_it = *random.choose(&USES);
    let rest = if matches!(use_of_it, Use::Frozen) {
        Rest::Freeze
    } else {
        *random.choose(&[Rest::Zero, Rest::FreezeThenZero])
    };
    let way = (*random.choose(&Origin::ALL), rest);
    if !must(&world.answers, name, &operator.deploy(name, name, way)) {
        return;
    }
    match use_of_it {
        Use::Nothing | Use::CalledMeanwhile => {}
        Use::Called => world.call(name, Allowed::Nothing),
        Use::Frozen => {
            world.call(name, Allowed::Nothing);
            until_true(format!("{name} is frozen"), || is_frozen(world, name));
        }
        Use::Redeployed => {
            world.call(name, Allowed::Nothing);
            must(&world.answers, name, &operator.deploy(name, &format!("{name} again"), way));
            world.call(name, Allowed::Nothing);
        }
    }
    thread::scope(|scope| {
        let calls = if matches!(use_of_it, Use::CalledMeanwhile) { random.within(1..CALLS_MAX + 1) } else { 0 };
        for _ in 0..calls {
            scope.spawn(|| world.call(name, Allowed::NotThere));
        }
        must(&world.answers, name, &operator.delete(name));
    });
    let gone = world.send(&Request::get(&format!("/v2/models/{name}")));
    if !matches!(&gone, Told::Answer(answer) if answer.status == 404) {
        world.answers.wrong(format!("{name} is there after its delete: {gone:?}"));
    }
    for file in ["onnx", "yaml"] {
        match std::fs::remove_file(home.path().join(format!("{name}.{file}"))) {
            // An image is not in a file.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            removed => removed.unwrap(),
        }
    }
}

fn is_frozen(world: &World, name: &str) -> bool {
    let status = world.admin(&format!("/v1/endpoints/{name}")).filter(|answer| answer.status == 200);
    status.is_some_and(|answer| {
        answer.json()["replicas"].as_array().is_some_and(|it| it.iter().all(|it| it["phase"] == "frozen"))
    })
}

//! Cold wakes: an endpoint at zero is called, answers, and goes back to zero.

use std::thread;

use dormouse_tests::wait::until_true;

use crate::{answers::Allowed, load::World, progress::Progress, random::Random};

/// Clients that wake endpoints of their own at the same time.
const CLIENTS: usize = 3;

pub(crate) fn run(world: &World, endpoints: &[String], wakes: u64, random: &mut Random) {
    let progress = Progress::begin(format!("{}: cold wakes", world.worker.name()), wakes);
    thread::scope(|scope| {
        for (client, own) in endpoints.chunks(endpoints.len().div_ceil(CLIENTS)).enumerate() {
            let share = (client as u64..wakes).step_by(CLIENTS).count();
            let (mut random, progress) = (random.child(), &progress);
            scope.spawn(move || {
                for _ in 0..share {
                    let endpoint = random.choose(own);
                    world.call(endpoint, Allowed::Nothing);
                    until_true(format!("{endpoint} is at zero"), || world.is_at_zero(endpoint));
                    progress.step();
                }
            });
        }
    });
    progress.end();
}

//! A sandbox and nothing else, ours and runc's in turns: from the request to the first instruction of a program that
//! says one byte and ends. Both have the same namespaces, ids, mounts, limits, device policy and system calls.

use std::time::Duration;

use crate::{Bench, Failure, parts::rest::idle, peers::runc::Runc, sandbox, sandbox::Sandbox, stats::Samples};

#[derive(Debug)]
pub(super) struct Sandboxes {
    pub(super) ours: Samples,
    pub(super) runc: Samples,
    pub(super) version: String,
}

pub(super) fn measure(bench: &Bench) -> Result<Sandboxes, String> {
    in_turns(bench).map_err(|error| error.to_string())
}

fn in_turns(bench: &Bench) -> Result<Sandboxes, Failure> {
    let program = sandbox::program(bench)?;
    let mut runc = Runc::find(bench, &program)?;
    let mut spawner = Sandbox::start(&program, &["creations".to_owned()])?;
    // Whatever each does once is done by now.
    create(&mut spawner)?;
    runc.first_word()?;
    let mut measured = Sandboxes { ours: Samples::default(), runc: Samples::default(), version: runc.version() };
    for _ in 0..bench.effort.sandboxes {
        idle();
        measured.ours.push(create(&mut spawner)?);
        idle();
        measured.runc.push(runc.first_word()?);
    }
    Ok(measured)
}

fn create(spawner: &mut Sandbox) -> Result<Duration, Failure> {
    let [micros] = spawner.ask("one")?;
    Ok(Duration::from_micros(micros))
}

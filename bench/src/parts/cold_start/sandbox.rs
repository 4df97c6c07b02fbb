//! A sandbox and nothing else, ours and runc's in turns: from the request to the first instruction of a program that
//! says one byte and ends. Both have the same namespaces, ids, mounts, limits, device policy and system calls.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use super::idle;
use crate::{Bench, Failure, peers::runc::Runc, stats::Samples};

const PROGRAM: &str = "dormouse-bench-sandbox";

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
    let program = bench.sibling(PROGRAM)?;
    let mut runc = Runc::find(bench, &program)?;
    let mut spawner = Spawner::start(Command::new(program))?;
    // Whatever each does once is done by now.
    spawner.create()?;
    runc.first_word()?;
    let mut measured = Sandboxes { ours: Samples::default(), runc: Samples::default(), version: runc.version() };
    for _ in 0..bench.effort.sandboxes {
        idle();
        measured.ours.push(spawner.create()?);
        idle();
        measured.runc.push(runc.first_word()?);
    }
    Ok(measured)
}

/// A daemon that creates on demand.
struct Spawner {
    child: Child,
    asking: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Spawner {
    fn start(mut command: Command) -> Result<Self, Failure> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let answers = child.stdout.take().ok_or("a child without output")?;
        Ok(Self { asking: child.stdin.take(), answers: BufReader::new(answers), child })
    }

    fn create(&mut self) -> Result<Duration, Failure> {
        if let Some(asking) = &mut self.asking {
            asking.write_all(b"\n")?;
        }
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let micros = line.trim().parse().map_err(|_| format!("{PROGRAM} said `{}` and no time", line.trim()))?;
        Ok(Duration::from_micros(micros))
    }
}

impl Drop for Spawner {
    fn drop(&mut self) {
        // At the end of its input it ends, with everything it started.
        drop(self.asking.take());
        let _ = self.child.wait();
    }
}

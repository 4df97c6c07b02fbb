//! The sandbox alone, as a program that is asked for samples line by line.

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use crate::{Bench, Failure};

const PROGRAM: &str = "dormouse-bench-sandbox";

/// The program, which is a payload too.
pub(crate) fn program(bench: &Bench) -> Result<PathBuf, Failure> {
    bench.sibling(PROGRAM)
}

/// A spawner that does one kind of thing on demand.
#[derive(Debug)]
pub(crate) struct Sandbox {
    child: Child,
    asking: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Sandbox {
    pub(crate) fn start(program: &Path, arguments: &[String]) -> Result<Self, Failure> {
        let mut command = Command::new(program);
        let mut child = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let answers = child.stdout.take().ok_or("a child without output")?;
        Ok(Self { asking: child.stdin.take(), answers: BufReader::new(answers), child })
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// The numbers that it answers with.
    pub(crate) fn ask<const N: usize>(&mut self, what: &str) -> Result<[u64; N], Failure> {
        if let Some(asking) = &mut self.asking {
            writeln!(asking, "{what}")?;
        }
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            return Err(format!("{PROGRAM} ended, and said why on standard error").into());
        }
        let numbers: Option<Vec<u64>> = line.split_whitespace().map(|number| number.parse().ok()).collect();
        let numbers = numbers.and_then(|numbers| numbers.try_into().ok());
        Ok(numbers.ok_or_else(|| format!("{PROGRAM} said `{}` and not {N} numbers", line.trim()))?)
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // At the end of its input it ends, with everything it started.
        drop(self.asking.take());
        let _ = self.child.wait();
    }
}

//! Runs tests one after another in a process with one thread, and tells them as cargo's harness does.

use std::{io::Write, panic, process::ExitCode};

use crate::{daemon, machine};

/// A test: its name and what it does.
pub type Test = (&'static str, fn());

/// The tests, and after them those whose name contains one of `claimed` once more, with replicas that
/// are made of blanks, and those of `forked` with replicas that are forked of templates.
#[derive(Debug, Clone, Copy)]
pub struct Suite {
    pub tests: &'static [Test],
    pub claimed: &'static [&'static str],
    pub forked: &'static [&'static str],
}

/// Where replicas come from in a round of the suite.
#[derive(Debug, Clone, Copy)]
enum Round {
    Created,
    Claimed,
    Forked,
}

/// How many blanks the second round has.
const BLANKS: u32 = 1;

impl Round {
    fn begin(self) {
        daemon::set_pool_size(if let Self::Claimed = self { BLANKS } else { 0 });
        daemon::set_forked(matches!(self, Self::Forked));
    }
}

impl Suite {
    fn all(self) -> impl Iterator<Item = (String, Round, fn())> {
        let round = move |prefix: &'static str, round: Round, parts: &'static [&'static str]| {
            let is_of_it = move |name: &str| parts.iter().any(|part| name.contains(part));
            let tests = self.tests.iter().filter(move |(name, _)| is_of_it(name));
            tests.map(move |(name, test)| (format!("{prefix}{name}"), round, *test))
        };
        let claimed = round("claimed::", Round::Claimed, self.claimed);
        let forked = round("forked::", Round::Forked, self.forked);
        round("", Round::Created, &[""]).chain(claimed).chain(forked)
    }
}

/// Prints the names of all tests.
#[must_use]
pub fn list(suite: Suite) -> ExitCode {
    suite.all().for_each(|(name, ..)| println!("{name}: test"));
    ExitCode::SUCCESS
}

/// Which tests are asked for, as cargo's harness takes it: those whose names contain one of the arguments, or all; less
/// those that contain what a `--skip` names.
#[derive(Debug)]
pub struct Asked<'a> {
    parts: Vec<&'a str>,
    skipped: Vec<&'a str>,
}

impl<'a> Asked<'a> {
    #[must_use]
    pub fn of(arguments: &'a [String]) -> Self {
        let (mut parts, mut skipped) = (Vec::new(), Vec::new());
        let mut arguments = arguments.iter().map(String::as_str);
        while let Some(argument) = arguments.next() {
            match argument {
                "--skip" => skipped.extend(arguments.next()),
                option if option.starts_with('-') => {}
                part => parts.push(part),
            }
        }
        Self { parts, skipped }
    }

    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        let is_part = |part: &&str| name.contains(*part);
        (self.parts.is_empty() || self.parts.iter().any(is_part)) && !self.skipped.iter().any(is_part)
    }
}

/// Runs the tests that the arguments ask for. After each one no process may be left.
#[must_use]
pub fn run(suite: Suite, arguments: &[String]) -> ExitCode {
    if let Some(missing) = daemon::missing() {
        eprintln!("{missing}");
        return ExitCode::FAILURE;
    }
    machine::adopt_orphans();
    let which = Asked::of(arguments);
    let (asked, filtered): (Vec<_>, Vec<_>) = suite.all().partition(|(name, ..)| which.has(name));
    println!("\nrunning {} tests", asked.len());
    let mut failed = 0;
    for (name, round, test) in &asked {
        round.begin();
        print!("test {name} ... ");
        let _ = std::io::stdout().flush();
        let passed = panic::catch_unwind(|| {
            test();
            machine::assert_no_process_left();
        })
        .is_ok();
        println!("{}", if passed { "ok" } else { "FAILED" });
        failed += usize::from(!passed);
    }
    let (word, passed, filtered) = (if failed == 0 { "ok" } else { "FAILED" }, asked.len() - failed, filtered.len());
    println!(
        "\ntest result: {word}. {passed} passed; {failed} failed; 0 ignored; 0 measured; {filtered} filtered out\n"
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Names each test once: the table is the list of functions.
#[macro_export]
macro_rules! tests {
    ($($module:ident :: $test:ident),* $(,)?) => {
        &[$((concat!(stringify!($module), "::", stringify!($test)), $module::$test)),*]
    };
}

//! Runs tests one after another in a process with one thread, and tells them as cargo's harness does.

use std::{io::Write, panic, process::ExitCode};

use crate::{daemon, machine};

/// A test: its name and what it does.
pub type Test = (&'static str, fn());

/// Prints the names of all tests.
#[must_use]
pub fn list(tests: &[Test]) -> ExitCode {
    tests.iter().for_each(|(name, _)| println!("{name}: test"));
    ExitCode::SUCCESS
}

/// Runs the tests whose names contain one of the arguments, or all of them. After each one no process
/// may be left.
#[must_use]
pub fn run(tests: &[Test], arguments: &[String]) -> ExitCode {
    if let Some(missing) = daemon::missing() {
        eprintln!("{missing}");
        return ExitCode::FAILURE;
    }
    machine::adopt_orphans();
    let filters: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let is_asked = |name: &str| filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()));
    let asked: Vec<_> = tests.iter().filter(|(name, _)| is_asked(name)).collect();
    println!("\nrunning {} tests", asked.len());
    let mut failed = 0;
    for (name, test) in &asked {
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
    let (word, passed, filtered) =
        (if failed == 0 { "ok" } else { "FAILED" }, asked.len() - failed, tests.len() - asked.len());
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

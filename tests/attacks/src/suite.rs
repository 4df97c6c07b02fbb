//! Runs attacks one after another and prints `attack · defended · control bites`.

use std::{io::Write, panic, process::ExitCode};

use crate::{Attack, Ground, Outcome};

/// The product that is attacked.
#[derive(Debug, Clone, Copy)]
pub enum Defended<'a> {
    Program(&'a str),
    /// Twice: with replicas whose container was made for them, and with such that were blanks.
    CreatedAndClaimed(&'a str),
}

impl Defended<'_> {
    /// Each with how its outcome is set off from what stands before.
    fn grounds(self) -> Vec<(Ground, &'static str)> {
        match self {
            Self::Program(program) => vec![(Ground::defended(program), "|")],
            Self::CreatedAndClaimed(program) => {
                vec![(Ground::defended(program), "|"), (Ground::claimed(program), "· claimed:")]
            }
        }
    }
}

/// Runs the attacks whose names contain one of the arguments, or all of them.
///
/// An attack passes where it is stopped by the product and gets through where its defence is
/// missing. The table is printed as it grows.
#[must_use]
pub fn run(attacks: &[Attack], arguments: &[String], defended: Defended<'_>, weakened: &str) -> ExitCode {
    if arguments.iter().any(|argument| argument == "--list") {
        attacks.iter().for_each(|attack| println!("{}: test", attack.name));
        return ExitCode::SUCCESS;
    }
    let filters: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let is_asked = |name: &str| filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()));
    let asked: Vec<&Attack> = attacks.iter().filter(|attack| is_asked(attack.name)).collect();
    println!("\nrunning {} attacks\n\n| class | attack | defended | control bites |\n|---|---|---|---|", asked.len());
    let mut failed = 0;
    for attack in &asked {
        print!("| {} | {} ", attack.class, attack.name);
        let _ = std::io::stdout().flush();
        let on = |ground: Ground| panic::catch_unwind(|| (attack.run)(&ground));
        let mut is_stopped = true;
        for (ground, which) in defended.grounds() {
            let (stopped, seen) = match on(ground) {
                Ok(Outcome::Stopped(seen)) => (true, format!("yes: {seen}")),
                Ok(Outcome::GotThrough(seen)) => (false, format!("**NO**: {seen}")),
                Err(_) => (false, "**FAILED**".to_owned()),
            };
            is_stopped &= stopped;
            print!("{which} {} ", cell(&seen));
            let _ = std::io::stdout().flush();
        }
        let (bites, seen) = match on(Ground::without(weakened, attack.defence)) {
            Ok(Outcome::GotThrough(seen)) => (true, format!("yes, without {}: {seen}", attack.defence)),
            Ok(Outcome::Stopped(seen)) => (false, format!("**NO**, without {}: {seen}", attack.defence)),
            Err(_) => (false, "**FAILED**".to_owned()),
        };
        println!("| {} |", cell(&seen));
        failed += usize::from(!(is_stopped && bites));
    }
    let (word, passed, filtered) =
        (if failed == 0 { "ok" } else { "FAILED" }, asked.len() - failed, attacks.len() - asked.len());
    println!(
        "\ntest result: {word}. {passed} passed; {failed} failed; 0 ignored; 0 measured; {filtered} filtered out\n"
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Text that stays within its cell.
fn cell(text: &str) -> String {
    text.replace('|', "/").split_whitespace().collect::<Vec<_>>().join(" ")
}

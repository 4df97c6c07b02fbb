//! Runs attacks one after another and prints `attack · defended · control bites`.

use std::{io::Write, panic, process::ExitCode};

use dormouse_driver::suite::Asked;

use crate::{Attack, Ground, Outcome, Replicas};

/// The product that is attacked.
#[derive(Debug, Clone, Copy)]
pub enum Defended<'a> {
    Program(&'a str),
    /// With each kind of replicas that an attack can be made from, at least one.
    From {
        program: &'a str,
        replicas: fn(&Attack) -> Vec<Replicas>,
    },
}

impl Defended<'_> {
    fn program(self) -> String {
        match self {
            Self::Program(program) | Self::From { program, .. } => program.to_owned(),
        }
    }

    fn replicas(self, attack: &Attack) -> Vec<Replicas> {
        match self {
            Self::Program(_) => vec![Replicas::Created],
            Self::From { replicas, .. } => replicas(attack),
        }
    }

    /// Each with how its outcome is set off from what stands before.
    fn grounds(self, attack: &Attack) -> Vec<(Ground, String)> {
        let program = self.program();
        in_a_cell(self.replicas(attack), |replicas| Ground::of(&program, replicas))
    }

    /// The same where its defences are missing. What is made of a model is alike in this, whatever it comes from.
    fn controls(self, attack: &Attack, weakened: &str) -> Vec<(Ground, String)> {
        let mut replicas = self.replicas(attack);
        let first = replicas.remove(0);
        replicas.retain(|other| *other == Replicas::Image);
        replicas.insert(0, first);
        in_a_cell(replicas, |replicas| Ground { replicas, ..Ground::without(weakened, &attack.defences()) })
    }
}

/// The first without a word, if it is what an attack is made from usually.
fn in_a_cell(replicas: Vec<Replicas>, ground: impl Fn(Replicas) -> Ground) -> Vec<(Ground, String)> {
    let name = |(number, replicas): (usize, &Replicas)| {
        let separator = if number == 0 { "|" } else { "·" };
        match replicas {
            Replicas::Created => separator.to_owned(),
            Replicas::Claimed => format!("{separator} claimed:"),
            Replicas::Forked => format!("{separator} forked:"),
            Replicas::Image => format!("{separator} image:"),
        }
    };
    let names: Vec<String> = replicas.iter().enumerate().map(name).collect();
    replicas.into_iter().map(ground).zip(names).collect()
}

/// Runs the attacks that the arguments ask for.
///
/// An attack passes where it is stopped by the product and gets through where its defence is
/// missing. Where it has several, each has to stop it alone. The table is printed as it grows.
#[must_use]
pub fn run(attacks: &[Attack], arguments: &[String], defended: Defended<'_>, weakened: &str) -> ExitCode {
    if arguments.iter().any(|argument| argument == "--list") {
        attacks.iter().for_each(|attack| println!("{}: test", attack.name));
        return ExitCode::SUCCESS;
    }
    let which = Asked::of(arguments);
    let asked: Vec<&Attack> = attacks.iter().filter(|attack| which.has(attack.name)).collect();
    println!("\nrunning {} attacks\n\n| class | attack | defended | control bites |\n|---|---|---|---|", asked.len());
    let failed = asked.iter().filter(|attack| !holds(attack, defended, weakened)).count();
    let (word, passed, filtered) =
        (if failed == 0 { "ok" } else { "FAILED" }, asked.len() - failed, attacks.len() - asked.len());
    println!(
        "\ntest result: {word}. {passed} passed; {failed} failed; 0 ignored; 0 measured; {filtered} filtered out\n"
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints the line of one attack.
fn holds(attack: &Attack, defended: Defended<'_>, weakened: &str) -> bool {
    print!("| {} | {} ", attack.class, attack.name);
    let _ = std::io::stdout().flush();
    let on = |ground: &Ground| panic::catch_unwind(|| (attack.run)(ground));
    let mut is_stopped = true;
    for (ground, which) in defended.grounds(attack).into_iter().chain(each_alone(attack, weakened)) {
        let (stopped, seen) = match on(&ground) {
            Ok(Outcome::Stopped(seen)) => (true, format!("yes: {seen}")),
            Ok(Outcome::GotThrough(seen)) => (false, format!("**NO**: {seen}")),
            Err(_) => (false, "**FAILED**".to_owned()),
        };
        is_stopped &= stopped;
        print!("{which} {} ", cell(&seen));
        let _ = std::io::stdout().flush();
    }
    let without = format!("without {}", attack.defences().join(", "));
    let mut bites = true;
    for (ground, which) in defended.controls(attack, weakened) {
        let (bit, seen) = match on(&ground) {
            Ok(Outcome::GotThrough(seen)) => (true, format!("yes, {without}: {seen}")),
            Ok(Outcome::Stopped(seen)) => (false, format!("**NO**, {without}: {seen}")),
            Err(_) => (false, "**FAILED**".to_owned()),
        };
        bites &= bit;
        print!("{which} {} ", cell(&seen));
    }
    println!("|");
    is_stopped && bites
}

/// Of several defences all but one are missing, for each in turn. A control that lacks them all would bite as well
/// where one of them does nothing.
fn each_alone(attack: &Attack, weakened: &str) -> Vec<(Ground, String)> {
    let defences = attack.defences();
    if defences.len() == 1 {
        return Vec::new();
    }
    let alone = |left: &&str| {
        let others: Vec<&str> = defences.iter().copied().filter(|defence| defence != left).collect();
        (Ground::without(weakened, &others), format!("· {left} alone:"))
    };
    defences.iter().map(alone).collect()
}

/// Text that stays within its cell.
fn cell(text: &str) -> String {
    text.replace('|', "/").split_whitespace().collect::<Vec<_>>().join(" ")
}

//! Runs attacks one after another and prints `attack · defended · control bites`.

use std::{io::Write, panic, process::ExitCode};

use dormouse_driver::suite::Asked;

use crate::{Attack, Ground, Outcome, Replicas};

/// The product that is attacked.
#[derive(Debug, Clone, Copy)]
pub enum Defended<'a> {
    Program(&'a str),
    /// With replicas whose container was made for them, with such that were blanks, for some classes of attacks with
    /// such that were forked of a template, and for some attacks with processes of an image.
    Everywhere {
        program: &'a str,
        forked: &'a [u8],
        image: &'a [&'a str],
    },
}

impl Defended<'_> {
    /// Whether it is run from processes of an image as well.
    fn is_of_image(self, attack: &Attack) -> bool {
        matches!(self, Self::Everywhere { image, .. } if image.contains(&attack.name))
    }

    /// Each with how its outcome is set off from what stands before.
    fn grounds(self, attack: &Attack) -> Vec<(Ground, String)> {
        let mut grounds = match self {
            Self::Program(program) => vec![(Ground::defended(program), "|")],
            Self::Everywhere { program, .. } => {
                vec![(Ground::defended(program), "|"), (Ground::of(program, Replicas::Claimed), "· claimed:")]
            }
        };
        if let Self::Everywhere { program, forked, .. } = self {
            let is_forked = forked.contains(&attack.class);
            grounds.extend(is_forked.then(|| (Ground::of(program, Replicas::Forked), "· forked:")));
            let is_of_image = self.is_of_image(attack);
            grounds.extend(is_of_image.then(|| (Ground::of(program, Replicas::Image), "· image:")));
        }
        grounds.into_iter().map(|(ground, which)| (ground, which.to_owned())).collect()
    }
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
    let defences = attack.defences();
    let without = format!("without {}", defences.join(", "));
    let without_them = Ground::without(weakened, &defences);
    let of_image = Ground { replicas: Replicas::Image, ..without_them.clone() };
    let controls = [(without_them, "|")].into_iter();
    let mut bites = true;
    for (ground, which) in controls.chain(defended.is_of_image(attack).then_some((of_image, "· image:"))) {
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

//! Deploys and deletes by the command line, and what it said became of them.

use dormouse_tests::{Home, Told, cli};

use crate::{answers::Answers, load::World};

/// What an operator knows after a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Done, and the revision where one was deployed.
    Acknowledged { revision: u64 },
    /// The daemon said no.
    Refused { reason: String },
    /// Nobody took the command.
    NotTaken,
    /// The daemon broke off: it may be done or not.
    Unknown,
}

impl Outcome {
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Acknowledged { .. } => "done",
            Self::Refused { .. } => "refused",
            Self::NotTaken => "not taken",
            Self::Unknown => "broken by a kill",
        }
    }
}

/// How replicas of an endpoint come to rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    /// Ended as soon as they are idle.
    Zero,
    /// Frozen as soon as they are idle, and ended a little later.
    FreezeThenZero,
    /// Frozen as soon as they are idle, and kept.
    Freeze,
}

impl Rest {
    fn settings(self) -> [(&'static str, &'static str); 2] {
        match self {
            Self::Zero => [("freeze-after", "1h"), ("zero-after", "1ms")],
            Self::FreezeThenZero => [("freeze-after", "1ms"), ("zero-after", "30ms")],
            Self::Freeze => [("freeze-after", "1ms"), ("zero-after", "1h")],
        }
    }
}

pub(crate) struct Operator<'a> {
    pub(crate) home: &'a Home,
    pub(crate) world: &'a World,
}

/// Where replicas of an endpoint that has none come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Each loads the model for itself.
    Loaded,
    /// They are forked of a template, which goes a little later than the last of them.
    Forked,
}

impl Origin {
    pub(crate) const ALL: [Self; 2] = [Self::Loaded, Self::Forked];

    fn setting(self) -> (&'static str, &'static str) {
        let kept = match self {
            Self::Loaded => "0s",
            Self::Forked => "200ms",
        };
        ("keep-template", kept)
    }
}

impl Operator<'_> {
    pub(crate) fn deploy(&self, name: &str, salt: &str, (origin, rest): (Origin, Rest)) -> Outcome {
        let worker = self.world.worker;
        let origin = worker.has_templates().then(|| origin.setting());
        let settings: Vec<_> = rest.settings().into_iter().chain(origin).collect();
        let text = worker.manifest(self.home, name, salt, &settings);
        let file = self.home.write(&format!("{name}.yaml"), text);
        self.run(&["deploy", "--json", "-f", file.to_str().unwrap()])
    }

    pub(crate) fn delete(&self, name: &str) -> Outcome {
        self.run(&["delete", name])
    }

    fn run(&self, arguments: &[&str]) -> Outcome {
        let answers = &self.world.answers;
        let begun = answers.deaths.now();
        let mut command = self.home.command(arguments);
        let told = cli::run(&mut command);
        let outcome = of(&told);
        let is_excused = match &outcome {
            Some(Outcome::NotTaken) => answers.deaths.may_refuse(begun),
            Some(Outcome::Unknown) => answers.deaths.may_break(begun),
            _ => true,
        };
        match &outcome {
            Some(_) if !is_excused => {
                answers.wrong(format!("{arguments:?} broke for no reason: {}", told.stderr));
            }
            None => answers.wrong(format!("{arguments:?} ended with {:?}: {}{}", told.code, told.stdout, told.stderr)),
            _ => {}
        }
        outcome.unwrap_or(Outcome::Unknown)
    }
}

/// None where it is nothing that the command line promises.
fn of(told: &Told) -> Option<Outcome> {
    if told.code == Some(0) {
        let json: serde_json::Value = serde_json::from_str(&told.stdout).unwrap_or_default();
        return Some(Outcome::Acknowledged { revision: json["revision"].as_u64().unwrap_or(0) });
    }
    let reason = told.stderr.lines().last()?.strip_prefix("dormouse: ")?.to_owned();
    let is = |texts: &[&str]| texts.iter().any(|text| reason.starts_with(text));
    if told.code != Some(1) || is(&["the daemon does not answer"]) {
        return None;
    }
    Some(if is(&["no daemon at", "connecting to"]) {
        Outcome::NotTaken
    } else if is(&["the daemon broke", "the daemon ended", "passing the model's files failed"]) {
        Outcome::Unknown
    } else {
        Outcome::Refused { reason }
    })
}

/// Counts a command that had to succeed.
pub(crate) fn must(answers: &Answers, what: &str, outcome: &Outcome) -> bool {
    let is_done = matches!(outcome, Outcome::Acknowledged { .. });
    if !is_done {
        answers.wrong(format!("{what}: {outcome:?}"));
    }
    is_done
}
